import math
import pickle
import subprocess
import sys
import zipfile
from functools import partial

import pytest
import torch

from aelib import augment, metrics, models, train
from aelib.images import binarise, to_float
from aelib.train import Settings

SETTINGS = Settings(epochs=4, batch_size=50, learning_rate=2e-3, seed=5)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def parts(digits):
    """Training and validation images; the last batch of each epoch is smaller than the others."""
    return digits[:180], digits[200:270]


def fresh(architecture="conv"):
    return models.build(architecture, 4, channels=1, size=28)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def stop_after(epochs):
    def progress(epoch):
        if epoch.epoch == epochs:
            raise Stop

    return progress


def train_until(epochs, parts, settings, checkpoint):
    with pytest.raises(Stop):
        train.fit(fresh(), *parts, settings, device="cpu", checkpoint=checkpoint, progress=stop_after(epochs))


EXTRAS = {"average": 0.9, "flips": True, "shift": 2, "weight_decay": 0.1}
COMBINATIONS = [
    (architecture, loss, extras)
    for architecture in ("conv", "dense")
    for loss in train.LOSSES
    for extras in ({}, EXTRAS)
]
COMBINATIONS += [("residual", "psnr", EXTRAS), ("ordered", "psnr", EXTRAS)]  # slow, so in one way only


@pytest.mark.parametrize(("architecture", "loss", "extras"), COMBINATIONS)
def test_two_and_two_epochs_equal_four(architecture, loss, extras, parts, tmp_path):
    if architecture in ("residual", "ordered"):
        parts = [part[:60] for part in parts]
    settings = Settings(epochs=4, batch_size=50, loss=loss, **extras)
    whole = fresh(architecture)
    history = train.fit(whole, *parts, settings, device="cpu")
    checkpoint = tmp_path / "runs" / "model.pt"
    with pytest.raises(Stop):
        train.fit(fresh(architecture), *parts, settings, device="cpu", checkpoint=checkpoint, progress=stop_after(2))
    resumed, seen = fresh(architecture), []
    resumed_history = train.fit(resumed, *parts, settings, device="cpu", checkpoint=checkpoint, progress=seen.append)
    assert [epoch.epoch for epoch in seen] == [3, 4]
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]
    assert resumed_history == history
    assert torch.equal(weights(resumed), weights(whole))
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_finished_run_is_loaded_and_not_trained_again(parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    first = fresh()
    history = train.fit(first, *parts, SETTINGS, device="cpu", checkpoint=checkpoint)
    again = fresh()
    assert train.fit(again, *parts, SETTINGS, device="cpu", checkpoint=checkpoint, progress=pytest.fail) == history
    assert torch.equal(weights(again), weights(first))


KILLED = """
import sys, time
from pathlib import Path
from aelib import data, models, train

def half_written(file, content):
    calls.append(file)
    if len(calls) < 3:
        return write(file, content)
    write(file, content[: len(content) // 2])
    print("writing", flush=True)
    time.sleep(600)

calls, write, Path.write_bytes = [], Path.write_bytes, half_written
images = data.load("mnist", "train", source="sample").images
settings = train.Settings(epochs=4, batch_size=50, learning_rate=2e-3, seed=5)
model = models.build("conv", 4, channels=1, size=28)
train.fit(model, images[:180], images[200:270], settings, device="cpu", checkpoint=Path(sys.argv[1]))
"""


def test_a_killed_process_resumes_to_the_same_weights(parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    with subprocess.Popen([sys.executable, "-c", KILLED, checkpoint], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "writing\n"
        finally:
            process.kill()
    assert process.returncode != 0
    whole, resumed, seen = fresh(), fresh(), []
    history = train.fit(whole, *parts, SETTINGS, device="cpu")
    assert train.fit(resumed, *parts, SETTINGS, device="cpu", checkpoint=checkpoint, progress=seen.append) == history
    assert [epoch.epoch for epoch in seen] == [3, 4], "the third epoch's checkpoint was only half written"
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "other",
    [
        {"epochs": 5},
        {"batch_size": 60},
        {"learning_rate": 1e-3},
        {"warmup": 0.1},
        {"loss": "bce"},
        {"seed": 6},
        {"schedule": "constant"},
        {"average": 0.5},
        {"flips": True},
        {"shift": 1},
        {"weight_decay": 0.1},
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(other, parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    train_until(1, parts, SETTINGS, checkpoint)
    ((key, value),) = other.items()
    with pytest.raises(
        ValueError,
        match=f"expected a checkpoint of the same settings and images in .*model.pt, but settings: .*{key}': {value!r}",
    ):
        train.fit(fresh(), *parts, Settings(**{**vars(SETTINGS), **other}), device="cpu", checkpoint=checkpoint)


@pytest.mark.parametrize("other", [("dense", 4), ("conv", 5)])
def test_a_checkpoint_of_another_network_is_refused(other, parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    train_until(1, parts, SETTINGS, checkpoint)
    with pytest.raises(
        ValueError, match=r"expected a checkpoint of this .*Autoencoder by aelib.train.fit in .*model.pt, got"
    ):
        train.fit(models.build(*other, channels=1, size=28), *parts, SETTINGS, device="cpu", checkpoint=checkpoint)


def damage_state(**changes):
    def damage(file):
        state = torch.load(file, weights_only=True)
        torch.save({**state, **changes}, file)

    return damage


def damage_within(key, change):
    def damage(file):
        state = torch.load(file, weights_only=True)
        change(state[key])
        torch.save(state, file)

    return damage


damage_optimizer, damage_history = partial(damage_within, "optimizer"), partial(damage_within, "history")


def older_kind_and_archive(file):
    """A file that torch reads from its beginning, in the kind without checksums, and zipfile from its end."""
    whole, state = file.read_bytes(), torch.load(file, weights_only=True)
    torch.save(state, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes() + whole)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no checkpoint"),
        lambda file: file.write_bytes(file.read_bytes()[:-200]),
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: torch.save([1, 2], file),
        lambda file: torch.save({}, file),
        damage_state(settings={"epochs": 0}),
        damage_state(settings={"speed": 3}),
        damage_state(history=[{"epoch": 1}]),
        damage_state(model=None),
        damage_state(model={}),
        damage_state(optimizer={}),
        damage_state(optimizer={"state": {}, "param_groups": []}),
        damage_optimizer(lambda state: state["param_groups"][0].update(betas=(0.9, "x"))),
        damage_optimizer(lambda state: state["param_groups"][0].update(betas=(0.5, 0.9))),
        damage_optimizer(lambda state: state["param_groups"][0].update(unknown=1)),
        damage_optimizer(lambda state: state["param_groups"][0].update(params=[0])),
        damage_optimizer(lambda state: state["state"][0].update(exp_avg=torch.zeros(3))),
        damage_optimizer(lambda state: state["state"][0].update(exp_avg_sq=None)),
        damage_optimizer(lambda state: state["state"].update({99: {"step": torch.zeros(())}})),
        damage_history(lambda history: history[0].update(train_loss="x")),
        damage_history(lambda history: history[0].update(seconds=None)),
        damage_history(lambda history: history[0].update(epoch=2)),
        damage_history(lambda history: history[0].update(speed=2)),
        damage_history(lambda history: history.append(history[0])),
        damage_history(lambda history: history.extend({**history[0], "epoch": epoch} for epoch in range(2, 9))),
        older_kind_and_archive,
    ],
)
def test_a_damaged_checkpoint_is_refused(damage, parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    train_until(1, parts, SETTINGS, checkpoint)
    damage(checkpoint)
    with pytest.raises(ValueError, match=r"expected a checkpoint .* in .*model.pt"):
        train.fit(fresh(), *parts, SETTINGS, device="cpu", checkpoint=checkpoint)


def test_a_flipped_bit_is_refused_or_without_effect(parts, tmp_path):
    checkpoint = tmp_path / "model.pt"
    settings = Settings(epochs=1, batch_size=50)
    whole = fresh()
    history = train.fit(whole, *parts, settings, device="cpu", checkpoint=checkpoint)
    stored = checkpoint.read_bytes()
    refused = 0
    for position in range(0, len(stored), len(stored) // 150):
        broken = bytearray(stored)
        broken[position] ^= 0x10
        checkpoint.write_bytes(broken)
        model = fresh()
        try:
            assert train.fit(model, *parts, settings, device="cpu", checkpoint=checkpoint) == history
        except ValueError:
            refused += 1
        else:
            assert torch.equal(weights(model), weights(whole))
    assert refused > 100, "most of the file is weights"


class Malicious:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return open, (str(self.victim), "w")


@pytest.mark.parametrize(
    "write",
    [torch.save, lambda state, file: file.write_bytes(pickle.dumps(state, protocol=2))],
    ids=["torch.save", "pickle"],
)
def test_a_pickle_is_not_executed(write, parts, tmp_path):
    checkpoint, victim = tmp_path / "model.pt", tmp_path / "victim"
    write({"settings": Malicious(victim)}, checkpoint)
    with pytest.raises(ValueError, match=r"expected a checkpoint of this .*Autoencoder by aelib"):
        train.fit(fresh(), *parts, SETTINGS, device="cpu", checkpoint=checkpoint)
    assert not victim.exists()


@pytest.mark.parametrize("batch_size", [50, 180])
def test_a_loss_that_is_not_finite_raises_and_is_not_kept(batch_size, parts, tmp_path):
    settings = Settings(epochs=1, batch_size=batch_size, learning_rate=1e30, warmup=0, loss="bce")
    checkpoint = tmp_path / "model.pt"
    with pytest.raises(FloatingPointError, match=r"finite losses in epoch 1, got .*(nan|inf)"):
        train.fit(fresh(), *parts, settings, device="cpu", checkpoint=checkpoint)
    assert not checkpoint.exists()


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_the_loss_falls_and_beats_the_mean_image(architecture, digits):
    images, validation = digits[:1500], digits[1500:1800]
    if slow := architecture in ("residual", "ordered"):
        images = images[:300]
    model = models.build(architecture, 8, channels=1, size=28)
    settings = Settings(epochs=3, batch_size=10, learning_rate=4e-3, warmup=0.3)
    history = train.fit(model, images, validation, settings)
    losses = [epoch.validation_loss for epoch in history]
    assert losses == sorted(losses, reverse=True)
    mean = (images.double().mean(dim=0, keepdim=True) / 255).expand(len(validation), -1, -1, -1)
    assert losses[-1] < (0.97 if slow else 0.8) * float((to_float(validation) - mean).square().mean())
    assert not model.training
    # The loss in floats and the measure on pictures differ by rounding alone: a variance of 1/12 grey level, 1.3e-6,
    # and as much again because it goes one way on the black ground. Residual networks also lose what is cut off.
    measured = float(metrics.mse(validation, models.reconstruct(model, validation)).mean())
    assert measured == pytest.approx(losses[-1], abs=1e-3 if slow else 1e-5)


def test_binarised_digits_train_with_cross_entropy(digits):
    images = binarise(digits[:600])
    history = train.fit(fresh(), images[:500], images[500:], Settings(epochs=3, batch_size=25, loss="bce"))
    share = float((images[:500] == 255).double().mean())
    coin = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert history[-1].validation_loss < coin, "worse than guessing the share of white"


@pytest.mark.parametrize("loss", train.LOSSES)
def test_losses_are_those_of_their_formulas(loss, noise):
    model, images = fresh(), noise(7, 1, 28, 28)
    x = to_float(images).double()
    with torch.inference_mode():
        y = model(to_float(images)).double()
    per_image = {
        "mse": (x - y) ** 2,
        "bce": -(x * y.log() + (1 - x) * (1 - y).log()),
        "psnr": 10 * torch.log10(((x - y) ** 2).mean(dim=(1, 2, 3), keepdim=True) + 1e-6),
    }[loss].mean(dim=(1, 2, 3))
    # The network works in float32: seven digits.
    assert train.evaluate(model, images, loss=loss) == pytest.approx(float(per_image.mean()), rel=1e-5)


def test_evaluate_counts_each_image_alike(digits):
    model = fresh()
    images = torch.cat([digits[:6], torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)])
    each = [train.evaluate(model, image[None]) for image in images]
    assert train.evaluate(model, images, batch_size=3) == pytest.approx(sum(each) / 7, rel=1e-6)
    of_batches = (sum(each[:3]) / 3 + sum(each[3:6]) / 3 + each[6]) / 3
    assert of_batches != pytest.approx(sum(each) / 7, rel=0.05), "the two ways could not be told apart"


def test_the_training_loss_counts_each_image_alike(parts):
    # So small a rate leaves the weights as they are, and the loss over four unequal batches that of one.
    settings = Settings(epochs=1, batch_size=50, learning_rate=1e-30)
    (epoch,) = train.fit(fresh(), *parts, settings, device="cpu")
    assert epoch.train_loss == pytest.approx(train.evaluate(fresh(), parts[0]), rel=1e-5)
    assert epoch.validation_loss == pytest.approx(train.evaluate(fresh(), parts[1]), rel=1e-5)


def test_evaluate_refuses_an_unknown_loss(digits):
    with pytest.raises(ValueError, match=r"expected a loss out of .*mse.*, got 'huber'"):
        train.evaluate(fresh(), digits[:2], loss="huber")


def test_the_seed_fixes_the_run(parts):
    def run(seed):
        model = fresh()
        train.fit(model, *parts, Settings(epochs=1, batch_size=50, seed=seed), device="cpu")
        return weights(model)

    first = run(0)
    torch.rand(1)
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)


def watched(monkeypatch):
    """A model, and a list that receives the bytes of each image that it is trained on."""
    model, seen = fresh(), []
    encode = model.encode

    def spy(x):
        if model.training:
            seen.extend(image.numpy().tobytes() for image in x)
        return encode(x)

    monkeypatch.setattr(model, "encode", spy)
    return model, seen


def test_every_epoch_sees_every_image_once_in_another_order(parts, monkeypatch):
    model, seen = watched(monkeypatch)
    train.fit(model, *parts, Settings(epochs=2, batch_size=50), device="cpu")
    whole = [image.numpy().tobytes() for image in to_float(parts[0])]
    first, second = seen[: len(whole)], seen[len(whole) :]
    assert sorted(first) == sorted(second) == sorted(whole)
    assert first != second
    assert whole not in (first, second)


def test_flips_mirror_about_half_of_the_images_others_in_every_epoch(parts, monkeypatch):
    model, seen = watched(monkeypatch)
    train.fit(model, *parts, Settings(epochs=2, batch_size=50, flips=True), device="cpu")
    plain = {image.numpy().tobytes(): index for index, image in enumerate(to_float(parts[0]))}
    mirrored = {image.flip(2).numpy().tobytes(): index for index, image in enumerate(to_float(parts[0]))}
    assert not set(plain) & set(mirrored)
    epochs = seen[: len(plain)], seen[len(plain) :]
    flipped = [{mirrored[image] for image in epoch if image in mirrored} for epoch in epochs]
    for epoch, own in zip(epochs, flipped, strict=True):
        assert own | {plain[image] for image in epoch if image in plain} == set(range(len(plain)))
        assert 0.35 < len(own) / len(plain) < 0.65
    assert flipped[0] != flipped[1]


def test_the_result_is_the_moving_average_of_the_weights(parts, monkeypatch):
    settings = Settings(epochs=2, batch_size=50, average=0.75)
    model, plain, steps = fresh(), fresh(), []
    step = torch.optim.AdamW.step

    def spy(self, *arguments, **options):
        found = step(self, *arguments, **options)
        steps.append(weights(plain))
        return found

    average = train.fit(model, *parts, settings, device="cpu")
    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train.fit(plain, *parts, Settings(**{**vars(settings), "average": 0.0}), device="cpu")
    expected = steps[0]
    for one in steps[1:]:
        expected = 0.75 * expected + 0.25 * one
    assert torch.allclose(weights(model), expected, atol=1e-6)
    assert average[-1].validation_loss == pytest.approx(train.evaluate(model, parts[1]), rel=1e-6)


def test_a_checkpoint_of_a_gpu_goes_on_without_one(parts, tmp_path):
    file = tmp_path / "run.pt"
    train_until(2, parts, SETTINGS, file)
    stored = torch.load(file, weights_only=True)
    for group in stored["optimizer"]["param_groups"]:
        group |= {"capturable": True, "lr": torch.tensor(group["lr"])}
    torch.save(stored, file)
    model, straight = fresh(), fresh()
    history = train.fit(model, *parts, SETTINGS, device="cpu", checkpoint=file)
    assert history == train.fit(straight, *parts, SETTINGS, device="cpu")
    assert torch.equal(weights(model), weights(straight))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="captures steps on a GPU")
@pytest.mark.parametrize(("architecture", "extras"), [("conv", EXTRAS), ("ordered", {"loss": "psnr"})])
def test_captured_steps_do_what_single_ones_do(architecture, extras, parts, monkeypatch):
    settings = Settings(**{**vars(SETTINGS), "batch_size": 20, **extras})
    model, plain = fresh(architecture), fresh(architecture)
    history = train.fit(model, *parts, settings, device="cuda:0")
    monkeypatch.setattr(train.capture, "of_shape", lambda take, count: take)
    expected = train.fit(plain, *parts, settings, device="cuda:0")
    assert history[-1].validation_loss == pytest.approx(expected[-1].validation_loss, rel=1e-3)
    apart = (weights(model) - weights(plain)).abs()
    # A GPU adds in any order, and Adam divides by what may be small: in a deep network a few weights go their own way.
    assert (apart.max() if architecture == "conv" else apart.mean()) < 1e-3


def test_weight_decay_takes_its_share_in_every_step(parts):
    plain, decayed = fresh(), fresh()
    start = weights(plain)
    for model, decay in ((plain, 0.0), (decayed, 0.5)):
        settings = Settings(epochs=1, batch_size=180, warmup=0, schedule="constant", weight_decay=decay)
        train.fit(model, *parts, settings, device="cpu")
    assert torch.allclose(weights(plain) - weights(decayed), start * settings.learning_rate * 0.5, atol=1e-7)


@pytest.mark.parametrize(("capability", "gains"), [("AVX512", True), ("AVX2", False), ("DEFAULT", False)])
def test_bfloat16_is_for_what_computes_in_it(capability, gains, parts, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert train.computes_bfloat16(torch.device("cpu")) is gains
    rough = Settings(**{**vars(SETTINGS), "bfloat16": True})
    model, plain = fresh(), fresh()
    train.fit(model, *parts, rough, device="cpu", checkpoint=tmp_path / "model.pt")
    train.fit(plain, *parts, SETTINGS, device="cpu")
    assert torch.equal(weights(model), weights(plain)) is not gains
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
    train.fit(fresh(), *parts, rough, device="cpu", checkpoint=tmp_path / "model.pt", progress=pytest.fail)


@pytest.mark.parametrize(("generation", "gains"), [(7, False), (8, True), (9, True)])
def test_gpus_compute_in_bfloat16_since_their_eighth_generation(generation, gains, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (generation, 0))
    assert train.computes_bfloat16(torch.device("cuda", 0)) is gains
    assert not train.computes_bfloat16(torch.device("mps"))


def test_a_checkpoint_from_before_a_setting_was_there_goes_on(parts, tmp_path):
    file = tmp_path / "model.pt"
    train_until(2, parts, SETTINGS, file)
    stored = torch.load(file, weights_only=True)
    for later in ("shift", "weight_decay"):
        del stored["settings"][later]
    torch.save(stored, file)
    model, straight = fresh(), fresh()
    assert train.fit(model, *parts, SETTINGS, device="cpu", checkpoint=file) == train.fit(
        straight, *parts, SETTINGS, device="cpu"
    )
    assert torch.equal(weights(model), weights(straight))


def test_a_shift_of_a_whole_image_is_refused(parts):
    with pytest.raises(ValueError, match="expected a shift below the 28 pixels of an image, got 28"):
        train.fit(fresh(), *parts, Settings(shift=28), device="cpu")


def test_shifts_move_the_images_that_are_trained_on(parts, monkeypatch):
    model, seen = watched(monkeypatch)
    train.fit(model, *parts, Settings(epochs=1, batch_size=50, shift=1), device="cpu")
    offsets = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    found = set()
    for image in to_float(parts[0]):
        places = augment.moved(image.expand(9, -1, -1, -1), offsets)
        found |= {place for place, moved in enumerate(places) if moved.numpy().tobytes() in seen}
    assert found == set(range(9))


@pytest.mark.parametrize("architecture", ["conv", "residual"])
def test_bfloat16_changes_the_way_and_hardly_the_result(architecture, parts, monkeypatch):
    monkeypatch.setattr(train, "computes_bfloat16", lambda device: True)
    few = [part[:60] for part in parts]
    model, plain = fresh(architecture), fresh(architecture)
    settings = Settings(epochs=4, batch_size=20, learning_rate=5e-3)
    rough = train.fit(model, *few, Settings(**{**vars(settings), "bfloat16": True}), device="cpu")
    exact = train.fit(plain, *few, settings, device="cpu")
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert not torch.equal(weights(model), weights(plain))
    gained = train.evaluate(fresh(architecture), few[1]) - exact[-1].validation_loss
    assert gained > 0
    assert rough[-1].validation_loss == pytest.approx(exact[-1].validation_loss, abs=0.2 * gained)


def test_a_constant_schedule_stays_at_its_peak():
    settings = Settings(learning_rate=0.1, warmup=0.2, schedule="constant")
    assert [train.learning_rate(settings, done) for done in (0.1, 0.2, 0.6, 1.0)] == pytest.approx(
        [0.05, 0.1, 0.1, 0.1]
    )


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    settings = Settings(learning_rate=0.1, warmup=0.2)
    rates = [train.learning_rate(settings, step / 100) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[20] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.05)
    assert rates[100] == pytest.approx(0, abs=1e-15)
    assert rates[20:] == sorted(rates[20:], reverse=True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epochs": 0}, "whole epochs >= 1, got 0"),
        ({"batch_size": 0}, "whole batch_size >= 1, got 0"),
        ({"epochs": 2.0}, "whole epochs >= 1, got 2.0"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"learning_rate": float("nan")}, "learning_rate > 0"),
        ({"warmup": 1.0}, "warmup < 1"),
        ({"loss": "huber"}, "expected a loss out of .*mse.*bce.*, got 'huber'"),
        ({"schedule": "steps"}, "expected a schedule out of .*cosine.*constant.*, got 'steps'"),
        ({"average": 1.0}, "expected 0 <= average < 1, got 1.0"),
        ({"shift": -1}, "whole shift >= 0, got -1"),
        ({"shift": True}, "whole shift >= 0, got True"),
        ({"shift": 1.5}, "whole shift >= 0, got 1.5"),
        ({"weight_decay": -0.1}, "finite weight_decay >= 0, got -0.1"),
        ({"weight_decay": math.inf}, "finite weight_decay >= 0, got inf"),
    ],
)
def test_settings_out_of_range(bad, message):
    with pytest.raises(ValueError, match=message):
        Settings(**bad)


def test_fit_refuses_other_images(parts, photographs):
    images, validation = parts
    for bad in [(photographs[:5], validation), (images, photographs[:5]), (images, validation[:0])]:
        with pytest.raises(ValueError, match="expected"):
            train.fit(fresh(), *bad, SETTINGS, device="cpu")
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        train.fit(fresh(), to_float(images), validation, SETTINGS, device="cpu")


def test_pick_device(monkeypatch):
    assert train.pick_device("cpu") == torch.device("cpu")
    for cuda, mps, expected in [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert train.pick_device().type == expected


def test_an_epoch_reads_as_one_line():
    line = str(train.Epoch(3, 0.25, 0.5, 1e-3, 2.0))
    assert line == "epoch   3  train 0.250000  validation 0.500000  lr 1.00e-03    2.0 s"


def test_a_checkpoint_that_cannot_be_written_stops_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(train, "_train_epoch", None)
    images = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(OSError, match="expected a folder that can be written to"):
        train.fit(
            models.build("dense", 2, channels=1, size=28), images, images, checkpoint=tmp_path / "file" / "run.pt"
        )


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    images = torch.zeros(20, 1, 28, 28, dtype=torch.uint8)
    model, file = models.build("dense", 2, channels=1, size=28), tmp_path / "run.pt"
    train.fit(model, images, images, train.Settings(epochs=1), device="cpu", checkpoint=file)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match="expected an archive that is not compressed"):
        train.fit(model, images, images, train.Settings(epochs=2), device="cpu", checkpoint=tmp_path / "small.pt")
