import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from aelib import (
    benchmark,
    data,
    entropy,
    latent,
    learned,
    metrics,
    models,
    pretrain,
    quantise,
    recipes,
    residual,
    train,
    zoo,
)
from aelib.cards import tables_name

RESULTS = Path(__file__).parent.parent / "results"
SUFFIXES = (".json", ".safetensors", ".tables.safetensors")


def quantiser_for(model):
    symbols = np.repeat([[0], [1]], 8 * model.latent_dim, axis=1)
    return quantise.Quantiser(np.ones(model.latent_dim), entropy.fit_tables(symbols))


def card_for(model, name="mnist-conv-4", **changes):
    return zoo.Card(
        name=name,
        dataset="mnist",
        architecture="conv",
        latent_dim=model.latent_dim,
        channels=model.channels,
        size=model.size,
        parameters=sum(p.numel() for p in model.parameters()),
        test={"images": 10, "mean_psnr": 12.5},
        pca_mean_psnr=10.0,
        recipe={"epochs": 1},
        history={"train_loss": [0.5]},
        data_sha256={},
        versions={},
        hardware="none",
        seconds=1.0,
        **changes,
    )


@pytest.fixture
def model():
    return models.build("conv", 4, channels=1, size=28, seed=1)


@pytest.fixture
def folder(model, tmp_path):
    """Weights of two sizes, neither of them shipped."""
    zoo.save(model, quantiser_for(model), card_for(model), folder=tmp_path / "weights")
    wide = models.build("conv", 12, channels=1, size=28)
    zoo.save(wide, quantiser_for(wide), card_for(wide, "mnist-conv-12"), folder=tmp_path / "weights")
    return tmp_path / "weights"


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def rewrite(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# --- save and load


def test_save_and_load_round_trip(model, folder, noise):
    loaded = zoo.load("mnist-conv-4", folder=folder)
    assert type(loaded) is models.ConvAutoencoder
    assert not loaded.training
    for key, value in model.state_dict().items():
        stored = loaded.state_dict()[key]
        assert stored.dtype == torch.float32
        assert torch.equal(stored, value.half().float())
    images = noise(3, 1, 28, 28)
    assert torch.equal(models.reconstruct(loaded, images), models.reconstruct(zoo.rounded(model), images))


def test_the_card_comes_back_with_the_hashes_of_the_files(model, folder):
    weights, tables = sha256(folder / "mnist-conv-4.safetensors"), sha256(folder / "mnist-conv-4.tables.safetensors")
    assert zoo.card("mnist-conv-4", folder=folder) == card_for(model, sha256=weights, tables_sha256=tables)
    kinds = ("json", "safetensors", "tables.safetensors")
    assert {file.name for file in folder.iterdir()} == {
        f"mnist-conv-{size}.{kind}" for size in (4, 12) for kind in kinds
    }


def test_names_and_sizes_rise(folder):
    assert zoo.names(folder=folder) == ["mnist-conv-4", "mnist-conv-12"]
    assert zoo.sizes("mnist", "conv", folder=folder) == [4, 12]
    assert zoo.names("cifar10", folder=folder) == []
    assert zoo.names(folder=folder / "nowhere") == []


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_rounded_leaves_the_model_as_it_is(architecture):
    model = models.build(architecture, 4, channels=1, size=8).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copy = zoo.rounded(model)
    assert type(copy) is type(model)
    assert model.training
    assert not copy.training
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value)
        # float16 keeps eleven bits.
        torch.testing.assert_close(copy.state_dict()[key], value, rtol=2**-11, atol=2**-24)


def renamed(folder, name, **changes):
    """Make the first weights of the folder pass for others."""
    rewrite(folder / "mnist-conv-4.json", name=name, **changes)
    for suffix in SUFFIXES:
        (folder / f"mnist-conv-4{suffix}").rename(folder / f"{name}{suffix}")


# --- prefixes of an ordered network


@pytest.mark.parametrize(("dataset", "whole"), [("mnist", 64), ("cifar10", 384)])
def test_an_ordered_network_is_offered_at_every_length_that_was_measured(dataset, whole):
    assert zoo.sizes(dataset, "ordered") == [whole]
    assert zoo.offered(dataset, "ordered") == zoo.offered(dataset, "residual") == zoo.sizes(dataset, "residual")
    full = zoo.card(f"{dataset}-ordered-{whole}")
    for size in zoo.sizes(dataset, "residual")[:-1]:
        cut, beside = zoo.card(f"{dataset}-ordered-{size}"), zoo.card(f"{dataset}-residual-{size}")
        assert (cut.name, cut.latent_dim, cut.prefixes) == (f"{dataset}-ordered-{size}", size, {})
        assert cut.pca_mean_psnr == pytest.approx(beside.pca_mean_psnr, abs=0.01)
        assert cut.test["images"] == 10_000
        assert cut.pca_mean_psnr < cut.test["mean_psnr"] < full.test["mean_psnr"]
        assert cut.parameters == beside.parameters == sum(p.numel() for p in zoo.load(cut.name).parameters())


def test_a_prefix_is_the_network_with_the_other_latents_zero(samples):
    images = samples["mnist", "test"].images[:9]
    state = torch.get_rng_state()
    whole, cut = zoo.load("mnist-ordered-64"), zoo.load("mnist-ordered-16")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(cut) is type(whole)
    assert not cut.training
    latents = models.codes(whole, images)
    assert torch.allclose(models.codes(cut, images), latents[:, :16], atol=1e-5)
    assert torch.equal(models.pictures(cut, latents[:, :16]), models.pictures(whole, residual.prefix(latents, 16)))


@pytest.mark.parametrize("quality", [0, 3, 7])
def test_the_codec_of_a_prefix_has_steps_and_tables_of_its_own(quality, samples):
    images = samples["mnist", "test"].images[:50]
    whole, cut = (zoo.load_codec(f"mnist-ordered-{size}", quality) for size in (64, 16))
    assert (cut.quantiser.steps > whole.quantiser.steps[:16]).all(), "as coarse as its larger error allows"
    symbols = cut.quantiser.symbols(models.codes(cut.model, images), quality)
    bits = entropy.information(symbols, cut.quantiser.at(quality))
    streams = cut.encode(images)
    assert [len(cut.payload(stream)) for stream in streams] == pytest.approx(bits / 8, abs=1.5)
    assert torch.equal(cut.decode(streams), models.pictures(cut.model, cut.quantiser.latents(symbols, quality)))
    with pytest.raises(ValueError, match="expected a stream of model"):
        whole.decode(streams)


@pytest.mark.parametrize("size", ["65", "512"])
def test_a_length_that_was_not_measured_lists_those_that_were(size):
    for read in (zoo.load, zoo.card, zoo.load_codec):
        with pytest.raises(ValueError, match=r"^expected one of 2, 4, .*384 latents of cifar10-ordered-384, got"):
            read(f"cifar10-ordered-{size}")


@pytest.mark.parametrize("size", ["x", "0", "064", "\u0666\u0664", "", "9" * 5000])
def test_another_way_to_write_a_length_is_no_name(size):
    for read in (zoo.load, zoo.card, zoo.load_codec):
        with pytest.raises(ValueError, match=r"shipped weights, cifar10-ordered-384, got 'cifar10-ordered-"):
            read(f"cifar10-ordered-{size}")


FIGURES = {"mean_psnr": 17.0, "pca_mean_psnr": 16.0, "parameters": 9, "tables_sha256": ""}


@pytest.mark.parametrize(
    "changes",
    [
        *({"prefixes": {length: FIGURES}} for length in ("0", "64", "016", "x", "-2", "9" * 5000)),
        *({"prefixes": {"8": FIGURES | {key: value}}} for key in FIGURES for value in ("x", None, [], float("nan"))),
        *({"prefixes": {"8": {key: FIGURES[key] for key in FIGURES if key != missing}}} for missing in FIGURES),
        *({"prefixes": value} for value in ([8], "8", 8, None, {"8": []}, {"8": None})),
        *({"test": value} for value in ({}, [], None, 3)),
        *({"latent_dim": value} for value in ("64", None, [], 64.5, float("nan"), 32)),
        *({"architecture": value} for value in ("conv", 3, None)),
        {"dataset": "../mnist"},
        {"name": "../mnist-ordered-64"},
    ],
)
def test_a_damaged_card_of_an_ordered_network_is_refused(changes, tmp_path):
    for file in zoo.WEIGHTS.glob("mnist-ordered-*"):
        shutil.copy(file, tmp_path)
    rewrite(tmp_path / "mnist-ordered-64.json", **changes)
    for read in (zoo.card, zoo.load, zoo.load_codec):
        with pytest.raises(ValueError, match=r"expected a weight card in .*mnist-ordered-64.json"):
            read("mnist-ordered-8", folder=tmp_path)
    with contextlib.suppress(ValueError):
        assert set(zoo.offered("mnist", "ordered", folder=tmp_path)) <= set(zoo.offered("mnist", "ordered"))


def test_a_prefix_belongs_to_the_longest_network(tmp_path):
    card = zoo.card("mnist-ordered-64")
    zoo_of = {"folder": tmp_path}
    model, quantiser = zoo.load(card.name), zoo.load_codec(card.name).quantiser
    shorter = {int(length): zoo.load_codec(f"mnist-ordered-{length}").quantiser for length in card.prefixes}
    zoo.save(model, quantiser, card, prefixes=shorter, **zoo_of)
    zoo.save(zoo.load("mnist-ordered-16"), shorter[16], zoo.card("mnist-ordered-16"), **zoo_of)
    assert zoo.offered("mnist", "ordered", **zoo_of) == [2, 4, 8, 16, 32, 64]
    held = [zoo.holder(f"mnist-ordered-{size}", **zoo_of) for size in (8, 16, 32, 64)]
    assert held == [f"mnist-ordered-{size}" for size in (64, 16, 64, 64)]
    for size in (8, 16, 32, 64):
        assert zoo.load_codec(f"mnist-ordered-{size}", **zoo_of).model.latent_dim == size


def test_a_card_is_saved_with_quantisers_for_all_its_prefixes(tmp_path):
    card, codec = zoo.card("mnist-ordered-64"), zoo.load_codec("mnist-ordered-64")
    other = dataclasses.replace(card, name="mnist-ordered-65", prefixes={})
    for facts, prefixes in ((card, {}), (card, {9: codec.quantiser}), (other, {})):
        with pytest.raises(ValueError, match="expected the card of mnist-ordered-64 and quantisers for"):
            zoo.save(codec.model, codec.quantiser, facts, prefixes=prefixes, folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", torch.ones(4, dtype=torch.bfloat16)),
        ("steps", torch.ones(2, 2, dtype=torch.float64)),
        ("steps", torch.ones((), dtype=torch.float64)),
        ("lows", torch.zeros(32)),
        ("lows", torch.zeros(2, 16, dtype=torch.int32)),
        ("counts", torch.zeros((), dtype=torch.int32)),
        ("frequencies", torch.zeros(3, dtype=torch.int64)),
        ("frequencies", None),
    ],
)
def test_tables_of_another_kind_are_refused_though_the_hash_fits(key, value, folder):
    file = folder / "mnist-conv-4.tables.safetensors"
    stored = {name: part for name, part in {**load(file.read_bytes()), key: value}.items() if part is not None}
    file.write_bytes(save(stored))
    rewrite(folder / "mnist-conv-4.json", tables_sha256=sha256(file))
    with pytest.raises(ValueError, match=r"expected the steps and tables of mnist-conv-4 in .*, got"):
        zoo.load_codec("mnist-conv-4", folder=folder)


# --- what is not there, or damaged


@pytest.mark.parametrize("name", ["mnist-conv-5", "mnist-conv-04", "../weights/mnist-conv-4", "mnist-conv-*", ""])
def test_an_unknown_name_lists_what_there_is(name, folder):
    for read in (zoo.load, zoo.card):
        with pytest.raises(ValueError, match="shipped weights, mnist-conv-4, mnist-conv-12, got") as error:
            read(name, folder=folder)
        assert repr(name) in str(error.value)


def test_a_size_that_the_zoo_lacks_lists_the_sizes_of_its_family():
    for read in (zoo.load, zoo.load_codec):
        with pytest.raises(ValueError, match=r"shipped weights, .*cifar10-conv-64.*, got 'cifar10-conv-65'") as error:
            read("cifar10-conv-65")
        assert "mnist" not in str(error.value)


def test_a_damaged_weight_file_is_refused(folder):
    file = folder / "mnist-conv-4.safetensors"
    whole = file.read_bytes()
    for broken in (b"", whole[:-1], whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"expected SHA-256 \w{64} of .*mnist-conv-4.safetensors, got \w{64}"):
            zoo.load("mnist-conv-4", folder=folder)
    file.unlink()
    with pytest.raises(ValueError, match=r"weights of mnist-conv-4 in .*mnist-conv-4.safetensors, got .*No such file"):
        zoo.load("mnist-conv-4", folder=folder)


@pytest.mark.parametrize(
    "content", [b"no safetensors", save({"other": torch.zeros(2)}), save({}), b"\xff" * 16], ids=len
)
def test_other_content_with_the_right_hash_is_refused(content, folder):
    (folder / "mnist-conv-4.safetensors").write_bytes(content)
    rewrite(folder / "mnist-conv-4.json", sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match=r"weights of mnist-conv-4 in .*mnist-conv-4.safetensors, got"):
        zoo.load("mnist-conv-4", folder=folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"name": "mnist-conv-4"}', b"\xff\xfe", b"[" * 200_000], ids=len
)
def test_a_damaged_card_is_refused(content, folder):
    (folder / "mnist-conv-4.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a weight card in .*mnist-conv-4.json"):
        zoo.load("mnist-conv-4", folder=folder)


def test_a_card_of_an_unknown_architecture_is_refused(folder):
    rewrite(folder / "mnist-conv-4.json", architecture="resnet")
    with pytest.raises(ValueError, match=r"weight card in .* got .* card of 'mnist-conv-4': 'mnist', 'resnet', 4"):
        zoo.load("mnist-conv-4", folder=folder)
    renamed(folder, "mnist-resnet-4")
    with pytest.raises(ValueError, match=r"architecture out of .*conv.*dense.*, got 'resnet'"):
        zoo.load("mnist-resnet-4", folder=folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"test": 5},
        {"test": {"mean_psnr": "high"}},
        {"test": {"images": 1, "mean_psnr": 10**400}},
        {"parameters": "x"},
        {"recipe": None},
        {"pca_mean_psnr": "n"},
        {"history": {"train_loss": ["x"]}},
        {"seconds": None},
        {"sha256": "../weights"},
    ],
)
def test_a_card_of_other_types_is_refused(changes, folder):
    rewrite(folder / "mnist-conv-4.json", **changes)
    for read in (zoo.card, zoo.load, zoo.load_codec):
        with pytest.raises(
            ValueError, match=r"expected a weight card in .*mnist-conv-4.json, got something else: Card: "
        ):
            read("mnist-conv-4", folder=folder)


def test_a_card_of_another_size_is_refused(folder):
    rewrite(folder / "mnist-conv-4.json", latent_dim=5)
    with pytest.raises(ValueError, match=r"weight card in .* got .* card of 'mnist-conv-4': 'mnist', 'conv', 5"):
        zoo.load("mnist-conv-4", folder=folder)
    renamed(folder, "mnist-conv-5")
    with pytest.raises(ValueError, match=r"(?s)weights of mnist-conv-5 in .* got .*size mismatch"):
        zoo.load("mnist-conv-5", folder=folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_dim": 200_000},
        {"latent_dim": 10**12},
        {"latent_dim": 10**400},
        {"latent_dim": "4"},
        {"size": 4 * 10**30},
        {"channels": [1]},
        {"architecture": ["conv"]},
        {"architecture": "dense", "latent_dim": 10**12},
        {"architecture": "residual", "latent_dim": 200_000},
    ],
)
def test_a_card_of_a_network_of_any_size_is_refused_before_it_takes_memory(changes, folder):
    rewrite(folder / "mnist-conv-4.json", **changes)
    start = time.perf_counter()
    with pytest.raises(
        ValueError, match=r"expected (the weights of mnist-conv-4|a weight card) in .*mnist-conv-4.* got"
    ):
        zoo.load("mnist-conv-4", folder=folder)
    architecture, size = (changes.get(key, own) for key, own in (("architecture", "conv"), ("latent_dim", 4)))
    if isinstance(size, int) and size < 10**50:  # under the name that fits, too
        renamed(folder, f"mnist-{architecture}-{size}")
        with pytest.raises(ValueError, match=r"expected (the weights of|a weight card in|the name of shipped weights)"):
            zoo.load(f"mnist-{architecture}-{size}", folder=folder)
    assert time.perf_counter() - start < 5, "a second, but for a busy machine"


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": [32, 64, 1960]},
        {"blocks": [1, 1, 10**9]},
        {"blocks": [10**9, -(10**9), 1]},
        {"groups": [1] * 10**6},
        {"groups": [10**12]},
        {"hidden": 10**12},
        {"channels": "3"},
        {"low": "0"},
    ],
)
def test_a_learned_card_of_any_size_is_refused_before_it_takes_memory(changes, tmp_path):
    for file in zoo.WEIGHTS.glob("mnist-learned.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = zoo.learned_card("mnist")
    rewrite(tmp_path / "mnist-learned.json", design=card["design"] | changes)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="expected the learned codec of mnist"):
        zoo.load_learned("mnist", folder=tmp_path)
    assert time.perf_counter() - start < 5, "a second, but for a busy machine"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 200_000], ids=len)
def test_a_damaged_learned_card_is_refused(content, tmp_path):
    (tmp_path / "mnist-learned.json").write_bytes(content)
    (tmp_path / "mnist-learned.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="expected the learned codec of mnist"):
        zoo.load_learned("mnist", folder=tmp_path)


def test_a_loaded_model_is_on_the_cpu_and_can_be_trained(folder):
    parameters = list(zoo.load("mnist-conv-4", folder=folder).parameters())
    assert all(one.requires_grad and one.dtype == torch.float32 and not one.is_meta for one in parameters)
    model = zoo.load_learned("mnist").model
    assert not any(one.requires_grad or one.is_meta for one in [*model.parameters(), *model.buffers()])


def test_a_run_that_dies_while_saving_keeps_the_old_weights(model, folder, monkeypatch):
    before = (folder / "mnist-conv-4.safetensors").read_bytes()

    def dies(self, content):
        with self.open("wb") as stream:
            stream.write(content[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zoo.Path, "write_bytes", dies)
        other = models.build("conv", 4, channels=1, size=28, seed=2)
        with pytest.raises(KeyboardInterrupt):
            zoo.save(other, quantiser_for(other), card_for(model), folder=folder)
    assert (folder / "mnist-conv-4.safetensors").read_bytes() == before
    assert zoo.load("mnist-conv-4", folder=folder).latent_dim == 4
    assert zoo.names(folder=folder) == ["mnist-conv-4", "mnist-conv-12"]


# --- what is shipped


def test_all_that_is_announced_is_shipped_and_nothing_else():
    assert sorted(zoo.names()) == sorted(recipes.all_names())
    files = {f"{name}.{kind}" for name in zoo.names() for kind in ("json", "safetensors", "tables.safetensors")}
    cut = {
        zoo.model_name(*kind, size)
        for kind in itertools.product(data.CLASSES, ["ordered"])
        for size in zoo.offered(*kind)
    }
    files |= {tables_name(name, zoo.holder(name)) for name in cut}
    files |= {f"{name}-learned.{kind}" for name in zoo.learned_names() for kind in ("json", "safetensors")}
    assert {file.name for file in zoo.WEIGHTS.iterdir()} == files
    assert zoo.learned_names() == list(learned.DESIGNS)


def test_the_shipped_weights_are_small():
    assert sum(file.stat().st_size for file in zoo.WEIGHTS.iterdir()) < 60e6


@pytest.mark.parametrize("name", recipes.all_names())
def test_a_shipped_card_is_complete_and_true(name):
    card = zoo.card(name)
    dataset, architecture, size = name.split("-")
    assert (card.name, card.dataset, card.architecture, card.latent_dim) == (name, dataset, architecture, int(size))
    assert (card.channels, card.size, card.size) == data.SHAPES[dataset]
    assert card.sha256 == sha256(zoo.WEIGHTS / f"{name}.safetensors")
    assert card.tables_sha256 == sha256(zoo.WEIGHTS / f"{name}.tables.safetensors")
    for length, prefix in card.prefixes.items():
        assert prefix.tables_sha256 == sha256(zoo.WEIGHTS / f"{name}.first-{length}.tables.safetensors")
    model = zoo.load(name)
    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert card.data_sha256 == data.SHA256[dataset], "not trained on the full data set"
    test = card.test
    assert test["images"] == 10_000
    assert test["mean_psnr"] >= test["pooled_psnr"]
    assert test["pooled_psnr"] == pytest.approx(-10 * math.log10(test["mse"]), abs=2e-3)  # the card rounds both
    assert 0 < test["ssim"] < 1
    assert abs(test["mean_psnr"] - test["mean_psnr_float32"]) < 0.01, "float16 costs something"
    assert card.pca_mean_psnr > 5
    recipe, then = dataclasses.asdict(recipes.recipe(name)), recipes.then(name)
    # What older cards do not name was not yet there: the defaults.
    defaults = {**dataclasses.asdict(train.Settings()), "start": "own"}
    assert recipe["bfloat16"] or not card.recipe.get("bfloat16", False)
    assert {**defaults, **card.recipe, "bfloat16": recipe["bfloat16"]} == {  # a CPU may be without it
        **recipe,
        "start": recipes.parent(name) or "own",
        "command": f"python -m aelib.pretrain {name}",
        **({"then": dataclasses.asdict(then)} if then else {}),
    }
    train_loss, validation_loss = card.history["train_loss"], card.history["validation_loss"]
    assert len(train_loss) == len(validation_loss) == recipe["epochs"] + (then.epochs if then else 0)
    before = validation_loss[-1 - max(1, recipe["epochs"] // 10)]
    if recipe["loss"] == "psnr":
        assert validation_loss[-1] > before - 0.1  # dB
    else:  # trained until flat: the last tenth of the epochs won less than 1 %
        assert validation_loss[-1] > 0.99 * before
    assert validation_loss[-1] < validation_loss[0]
    assert {"python", "torch", "numpy"} <= set(card.versions)
    assert card.hardware
    assert card.seconds > 0
    if threads := re.fullmatch(r"(?:(\d+) x )?\w+, (\d+) thread\(s\), cpu", card.hardware):
        assert card.seconds * int(threads[1] or 1) * int(threads[2]) / 2 <= 40 * 60  # on two cores
    else:
        assert card.seconds <= 40 * 60


@pytest.mark.parametrize(
    "name",
    [
        "mnist-conv-16",
        "mnist-dense-16",
        "mnist-ordered-64",
        "cifar10-conv-2",
        "cifar10-conv-128",
        "cifar10-dense-256",
        "cifar10-residual-64",
        "cifar10-ordered-384",
    ],
)
def test_a_shipped_model_reaches_its_card_on_the_sample(name, samples):
    card = zoo.card(name)
    images = samples[card.dataset, "test"].images
    restored = models.reconstruct(zoo.load(name), images)
    psnr, ssim = metrics.psnr(images, restored), metrics.ssim(images, restored)
    # The sample is a tenth of the test set: five standard errors of its mean.
    assert float(psnr.mean()) == pytest.approx(card.test["mean_psnr"], abs=5 * float(psnr.std()) / 1000**0.5)
    assert float(ssim.mean()) == pytest.approx(card.test["ssim"], abs=5 * float(ssim.std()) / 1000**0.5)


@pytest.mark.parametrize("family", recipes.SIZES)
def test_more_latent_numbers_are_better(family):
    cards = [zoo.card(name) for name in zoo.names(*family.split("-"))]
    assert [card.latent_dim for card in cards] == list(recipes.SIZES[family])
    for values in ([card.test["mean_psnr"] for card in cards], [card.pca_mean_psnr for card in cards]):
        assert values == sorted(set(values))


@pytest.mark.parametrize("name", recipes.all_names())
def test_a_card_says_what_the_results_say_of_the_same_weights(name):
    """Both on the full test set, measured by other code: the finest quantiser costs a few hundredths of a dB."""
    card = zoo.card(name)
    coded, said = benchmark.read(RESULTS / f"{name}.json")
    assert (said["weights_sha256"], said["tables_sha256"]) == (card.sha256, card.tables_sha256)
    finest = max(point.psnr.mean for point in coded)
    assert 0.04 < card.test["mean_psnr"] - finest < 0.07


@pytest.mark.full_data
@pytest.mark.parametrize("name", ["mnist-conv-8", "cifar10-dense-16", "mnist-ordered-8", "cifar10-residual-256"])
def test_a_card_can_be_measured_again(name):
    card = zoo.card(name)
    full, test = (data.load(card.dataset, part) for part in ("train", "test"))
    measured = pretrain.quality(zoo.load(name), test)
    expected = {key: value for key, value in card.test.items() if key != "mean_psnr_float32"}
    # Another machine may sum in another order, and a pixel turn over now and then.
    assert {key: measured[key] for key in expected} == pytest.approx(expected, abs=2e-3, rel=1e-4)
    linear = latent.fit_image_pca(full.split()[0].images, card.latent_dim)
    restored = linear.reconstruct(test.images, card.latent_dim)
    assert float(metrics.psnr(test.images, restored).mean()) == pytest.approx(card.pca_mean_psnr, abs=2e-3)


def test_shared_codecs_of_all_qualities_hold_one_model():
    fine, coarse = zoo.shared_codec("mnist-conv-4"), zoo.shared_codec("mnist-conv-4", 3)
    assert fine.model is coarse.model
    assert (fine.quality, coarse.quality) == (7, 3)
    assert zoo.load_codec("mnist-conv-4").model is not fine.model
