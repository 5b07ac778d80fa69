import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from aelib import data, latent, metrics, models, pretrain, quantise, recipes, residual, train, zoo

SETTINGS = train.Settings(epochs=2, batch_size=64, learning_rate=4e-3)


@pytest.fixture
def folders(tmp_path):
    return {"runs": tmp_path / "runs", "folder": tmp_path / "weights"}


def start():
    """What `make` starts from: the model, and the images it trains and validates on."""
    sample = data.load("mnist", "train", source="sample")
    training, validation = sample.split()
    return models.build("dense", 2, channels=1, size=28), training.images, validation.images


def test_a_stopped_run_goes_on_to_the_same_file(folders, tmp_path):
    whole = pretrain.make("mnist-dense-2", SETTINGS, source="sample", runs=tmp_path / "other", folder=tmp_path / "once")

    class Stop(Exception):
        pass

    def stop(epoch):
        raise Stop

    with pytest.raises(Stop):
        train.fit(*start(), SETTINGS, checkpoint=folders["runs"] / "mnist-dense-2.pt", progress=stop)
    pretrain.make("mnist-dense-2", SETTINGS, source="sample", **folders)
    files = [file.name for file in (tmp_path / "once").glob("*.safetensors")]
    assert "mnist-dense-2.safetensors" in files
    for file in files:
        assert (folders["folder"] / file).read_bytes() == (tmp_path / "once" / file).read_bytes()
    again = zoo.card("mnist-dense-2", folder=folders["folder"])
    assert again.history == whole.history
    assert again.test == whole.test


def test_the_card_says_what_the_weights_reach(folders, samples, capsys):
    settings = train.Settings(epochs=1, batch_size=64)
    pretrain.make("mnist-dense-4", settings, source="sample", **folders)
    card = zoo.card("mnist-dense-4", folder=folders["folder"])
    images = samples["mnist", "test"].images
    restored = models.reconstruct(zoo.load("mnist-dense-4", folder=folders["folder"]), images)
    assert card.test["images"] == 1000
    # The card keeps four digits.
    assert card.test["mean_psnr"] == pytest.approx(float(metrics.psnr(images, restored).mean()), abs=1e-4)
    assert card.test["mse"] == pytest.approx(float(metrics.mse(images, restored).mean()), abs=1e-7)
    assert card.test["ssim"] == pytest.approx(float(metrics.ssim(images, restored).mean()), abs=1e-5)
    assert card.data_sha256 == {}, "the sample is not the published data set"
    command = "python -m aelib.pretrain mnist-dense-4 --epochs 1 --source sample"
    assert card.recipe == {**dataclasses.asdict(settings), "start": "own", "command": command}
    assert len(card.history["train_loss"]) == 1
    printed = capsys.readouterr().out
    assert "mnist-dense-4  epoch   1  train" in printed
    assert f"mnist-dense-4  test {card.test['mean_psnr']:.2f} dB, PCA {card.pca_mean_psnr:.2f} dB" in printed


def test_a_second_training_goes_on_from_the_first(folders, tmp_path):
    first, then = train.Settings(epochs=1, batch_size=64), train.Settings(epochs=1, batch_size=32, learning_rate=1e-4)
    whole = pretrain.make("mnist-dense-4", first, then=then, source="sample", **folders)
    assert whole.recipe["then"] == dataclasses.asdict(then)
    assert len(whole.history["train_loss"]) == 2
    assert whole.history["train_loss"][1] < whole.history["train_loss"][0]
    (second,) = folders["runs"].glob("mnist-dense-4.then-*.pt")
    second.unlink()  # stopped between the two
    again = pretrain.make("mnist-dense-4", first, then=then, source="sample", runs=folders["runs"], folder=tmp_path)
    assert (again.history, again.sha256) == (whole.history, whole.sha256)
    (folders["runs"] / "mnist-dense-4.pt").unlink()
    first = dataclasses.replace(first, seed=1)
    other = pretrain.make("mnist-dense-4", first, then=then, source="sample", runs=folders["runs"], folder=tmp_path)
    assert other.history["train_loss"][1] != whole.history["train_loss"][1], "the second training is of its own first"
    alone = pretrain.make("mnist-dense-4", then, source="sample", runs=tmp_path, folder=tmp_path)
    assert alone.history["train_loss"][0] > whole.history["train_loss"][1]


def test_a_card_without_the_second_training_says_how_it_came_about(folders, monkeypatch):
    monkeypatch.setitem(recipes.THEN, "mnist-dense-4", {"epochs": 1})
    monkeypatch.setitem(recipes.OTHERWISE, "mnist-dense-4", {"epochs": 1})
    short = recipes.recipe("mnist-dense-4")
    card = pretrain.make("mnist-dense-4", short, source="sample", **folders)
    assert "mnist-dense-4 --epochs 1 " in card.recipe["command"]
    card = pretrain.make("mnist-dense-4", short, then=recipes.then("mnist-dense-4"), source="sample", **folders)
    assert "--epochs" not in card.recipe["command"]


def test_the_command_trains_a_second_time_where_the_recipe_says_so(folders, monkeypatch):
    seen = []
    monkeypatch.setattr(pretrain, "make", lambda name, settings, *, then, **_: seen.append((settings, then)))
    options = ["--seed", "3", "--folder", str(folders["folder"])]
    for arguments in (["cifar10-residual-256"], ["cifar10-residual-256", "--epochs", "1"], ["mnist-conv-2"]):
        assert pretrain.main([*arguments, *options]) == 0
    (long, second), *others = seen
    assert (long.epochs, long.seed) == (recipes.recipe("cifar10-residual-256").epochs, 3)
    assert second == dataclasses.replace(recipes.then("cifar10-residual-256"), seed=3)
    assert [then for _, then in others] == [None, None]


def test_the_command_trains_one_model(folders):
    arguments = ["mnist-dense-2", "--epochs", "1", "--source", "sample"]
    arguments += ["--runs", folders["runs"], "--folder", folders["folder"]]
    subprocess.run([sys.executable, "-m", "aelib.pretrain", *arguments], check=True, stdout=subprocess.DEVNULL)
    assert zoo.names(folder=folders["folder"]) == ["mnist-dense-2"]
    assert zoo.card("mnist-dense-2", folder=folders["folder"]).recipe["epochs"] == 1
    state = torch.load(folders["runs"] / "mnist-dense-2.pt", weights_only=True)
    assert len(state["history"]) == 1


@pytest.fixture
def commands(monkeypatch):
    """The commands that would be run; those whose model is in `failing` fail."""
    run, failing = [], set()

    def record(command, *, env, check):
        run.append((command, env))
        return subprocess.CompletedProcess(command, int(command[3] in failing))

    monkeypatch.setattr(subprocess, "run", record)
    return run, failing


def test_several_models_are_trained_in_processes(commands, folders, monkeypatch):
    run, _ = commands
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    places = ["--runs", str(folders["runs"]), "--folder", str(folders["folder"])]
    options = [*places, "--epochs", "3", "--source", "sample"]
    assert pretrain.main(["mnist-conv-2", "mnist-conv-4", *options, "--jobs", "2"]) == 0
    assert sorted(command for command, _ in run) == [
        [sys.executable, "-m", "aelib.pretrain", name, *options] for name in ("mnist-conv-2", "mnist-conv-4")
    ]
    assert {env["OMP_NUM_THREADS"] for _, env in run} == {"3"}


def test_a_sweep_over_all_sizes_has_one_process_a_size_and_a_gpu_each(commands, folders, monkeypatch):
    run, _ = commands
    places = ["--runs", str(folders["runs"]), "--folder", str(folders["folder"]), "--source", "sample"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    names = [f"mnist-conv-{size}" for size in (2, 4, 8, 16, 32, 64)]
    assert pretrain.main([*names, *places]) == 0
    assert sorted(command[3] for command, _ in run) == sorted(names)
    assert {env["CUDA_VISIBLE_DEVICES"] for _, env in run} == {"0", "1", "2"}
    assert {env["OMP_NUM_THREADS"] for _, env in run} == {"4"}
    run.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert pretrain.main([*names, *places, "--jobs", "4"]) == 0
    assert {env["CUDA_VISIBLE_DEVICES"] for _, env in run} == {"5", "7"}


def test_processes_of_a_launcher_train_one_model(commands, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        pretrain.main(["mnist-conv-2", "mnist-conv-4", "--folder", str(tmp_path)])
    assert "under a launcher" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        pretrain.main(["mnist-conv-2"])
    assert "several processes, whose batches add up, are for trials" in capsys.readouterr().err
    assert commands[0] == []


def test_a_residual_model_begins_with_the_prefix_of_its_parent(folders, samples, monkeypatch):
    images, fit = samples["mnist", "train"].images[:15], quantise.fit
    epoch = train.Epoch(1, 0.5, 0.5, 1e-3, 1.0)
    monkeypatch.setattr(train, "fit", lambda *arguments, **options: [epoch])  # whatever it learns is not asked for here
    monkeypatch.setattr(quantise, "fit", lambda model, images, **_: fit(model, images[:10], probes=4))
    monkeypatch.setattr(data, "load", lambda name, part, *, source: samples[name, part].take(slice(80)))
    settings = train.Settings(epochs=1, loss="psnr")
    assert pretrain.make("mnist-ordered-64", settings, source="sample", **folders).recipe["start"] == "own"
    parent = zoo.load("mnist-ordered-64", folder=folders["folder"])
    model = pretrain.fresh("mnist-residual-8", images, seed=0, folder=folders["folder"])
    assert torch.equal(model.encoder[-1].weight, parent.encoder[-1].weight[:8])
    card = pretrain.make("mnist-residual-8", settings, source="sample", **folders)
    assert card.recipe["start"] == "mnist-ordered-64"
    assert card.prefixes == {}
    test, whole = samples["mnist", "test"].take(slice(80)), zoo.card("mnist-ordered-64", folder=folders["folder"])
    assert list(whole.prefixes) == ["2", "4", "8", "16", "32"]
    short = models.pictures(parent, residual.prefix(models.codes(parent, test.images), 8))
    assert whole.prefixes["8"].mean_psnr == pretrain.mean_psnr(test, short)
    linear = latent.fit_image_pca(samples["mnist", "train"].take(slice(80)).split()[0].images, 64)
    codec = zoo.load_codec("mnist-ordered-8", folder=folders["folder"])
    assert codec.model.latent_dim == 8
    fitted = fit(codec.model, samples["mnist", "train"].take(slice(80)).split()[0].images[:10], probes=4)
    assert (codec.quantiser.steps == fitted.steps).all()
    assert (codec.quantiser.tables.frequencies == fitted.tables.frequencies).all()
    assert whole.prefixes["8"].pca_mean_psnr == pretrain.mean_psnr(test, linear.reconstruct(test.images, 8))


def test_parents_are_trained_before_their_children(commands, folders, monkeypatch):
    run, _ = commands
    names = ["mnist-residual-4", "mnist-conv-2", "mnist-ordered-64"]
    pretrain.main([*names, "--runs", str(folders["runs"]), "--folder", str(folders["folder"]), "--source", "sample"])
    assert run[0][0][3] == "mnist-ordered-64"
    assert sorted(command[3] for command, _ in run) == sorted(names)


def test_all_models_by_default_and_failures_are_named(commands, monkeypatch, capsys):
    run, failing = commands
    loaded = []
    monkeypatch.setattr(data, "load", lambda name, part, *, source: loaded.append((name, part)))
    failing.add("cifar10-conv-8")
    assert pretrain.main([]) == 1
    assert sorted(command[3] for command, _ in run) == sorted(recipes.all_names())
    assert sorted(loaded) == [("cifar10", "train"), ("mnist", "train")], "loaded once, before the processes race for it"
    assert "failed: cifar10-conv-8; run the command again to go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["mnist", "mnist-conv", "mnist-conv-x", "mnist-conv-0", "mnist-conv--2", "fashion-conv-2"]
)
def test_other_names_are_refused_before_anything_runs(name, commands, capsys):
    with pytest.raises(SystemExit):
        pretrain.main(["mnist-conv-2", name])
    assert f"got {name!r}" in capsys.readouterr().err
    assert commands[0] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "expected a whole number of at least 1, got '0'"),
        (["--jobs", "0"], "expected a whole number of at least 1, got '0'"),
        (["--epochs", "1"], "give a --folder, the default holds the shipped weights"),
        (["--seed", "1"], "give a --folder, the default holds the shipped weights"),
        (["--source", "sample"], "give a --folder, the default holds the shipped weights"),
    ],
)
def test_trials_do_not_touch_the_shipped_weights(arguments, message, commands, capsys):
    with pytest.raises(SystemExit):
        pretrain.main(arguments)
    assert message in capsys.readouterr().err
    assert commands[0] == []


def test_a_checkpoint_of_other_images_is_refused(folders, tmp_path):
    model, training, validation = start()
    train.fit(model, training, validation, SETTINGS, checkpoint=tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"expected a checkpoint of the same settings and images in .*, but images: "):
        train.fit(model, training[1:], validation, SETTINGS, checkpoint=tmp_path / "model.pt")


def test_the_sample_does_not_stand_in_unasked(folders, monkeypatch):
    monkeypatch.setattr(data, "from_mirror", unreachable)
    monkeypatch.setattr(data, "from_official", unreachable)
    with pytest.warns(data.SampleWarning), pytest.raises(ConnectionError, match="full mnist data set to train on"):
        pretrain.make("mnist-conv-2", SETTINGS, **folders)
    assert not folders["runs"].exists()


def unreachable(name, folder):
    raise OSError("no network today")


@pytest.mark.parametrize("option", ["--runs", "--folder"])
def test_a_folder_that_is_a_file_is_told_before_training(option, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(train, "_train_epoch", None)
    places = {"--runs": tmp_path / "runs", "--folder": tmp_path / "folder", option: tmp_path / "file" / "x"}
    given = ["mnist-conv-2", "--source", "sample", *(str(word) for pair in places.items() for word in pair)]
    assert pretrain.main(given) == 1
    assert capsys.readouterr().err.startswith("pretrain mnist-conv-2: expected a folder that can be written to, got")
