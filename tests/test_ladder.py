"""What benchmarks/ladder.py gathers of models that were trained again."""

import json
import shutil

import ladder
import pytest
import targets

from aelib import data, zoo

NAME = "mnist-conv-4"


def trained_again(folder, seed, psnr, *, name=NAME, **other):
    folder.mkdir()
    for suffix in (".safetensors", ".tables.safetensors"):
        shutil.copy(zoo.WEIGHTS / f"{name}{suffix}", folder)
    content = json.loads((zoo.WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    content["recipe"]["seed"], content["test"]["mean_psnr"] = seed, psnr
    content["recipe"] |= other
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_other_seeds_make_the_spread_and_the_same_one_stands_apart(tmp_path):
    shipped = zoo.card(NAME).test["mean_psnr"]
    trained_again(tmp_path / "seed-0", zoo.card(NAME).recipe["seed"], shipped + 0.5)
    assert ladder.seeds(tmp_path) == {NAME: {"mean_psnr": [shipped], "again": shipped + 0.5}}
    trained_again(tmp_path / "seed-1", 1, shipped + 0.03)
    trained_again(tmp_path / "seed-2", 2, shipped - 0.03)
    found = ladder.seeds(tmp_path)[NAME]
    assert found["mean_psnr"] == [shipped, shipped + 0.03, shipped - 0.03]
    assert found["deviation"] == pytest.approx(0.03)
    others = {"cifar10-residual-32": {"mean_psnr": [20.0]}}
    _, _, own, other = targets.spread({NAME: found} | others).splitlines()
    figures = f"{shipped:.3f} | {shipped + 0.5:.3f} | 3 | {shipped:.3f} | 0.030"
    assert own == f"| {NAME} | {figures} | weights that the seed draws |"
    assert other == "| cifar10-residual-32 | 20.000 | - | 1 | 20.000 | - | cifar10-ordered-384 |"
    trained_again(tmp_path / "seed-3", 3, shipped, epochs=1)
    with pytest.raises(ValueError, match=r"expected mnist-conv-4 in .*seed-3 to be of the shipped recipe"):
        ladder.seeds(tmp_path)


def test_what_is_known_of_seeds_is_kept():
    shipped, other = zoo.card(NAME).test["mean_psnr"], zoo.card("mnist-conv-8").test["mean_psnr"]
    before = {
        NAME: {"mean_psnr": [shipped, 20.0, 21.0], "deviation": 0.5},
        "mnist-conv-8": {"mean_psnr": [other, 22.0], "deviation": 0.5},
        "mnist-conv-16": {"mean_psnr": [19.0, 22.0], "deviation": 0.5},
    }
    found = {NAME: {"mean_psnr": [shipped], "again": 20.5}, "mnist-conv-8": {"mean_psnr": [other, 23.0, 24.0]}}
    assert ladder.together(before, {}) == {name: before[name] for name in (NAME, "mnist-conv-8")}
    merged = ladder.together(before, found)
    assert merged == {NAME: before[NAME] | {"again": 20.5}, "mnist-conv-8": found["mnist-conv-8"]}


def test_the_seed_of_a_second_training_is_no_other_recipe(tmp_path):
    name = next(name for name in zoo.names() if "then" in zoo.card(name).recipe)
    then = zoo.card(name).recipe["then"]
    trained_again(tmp_path / "seed-1", 1, 20.0, name=name, then={**then, "seed": 1})
    assert ladder.seeds(tmp_path)[name]["mean_psnr"] == [zoo.card(name).test["mean_psnr"], 20.0]
    trained_again(tmp_path / "seed-2", 2, 20.0, name=name, then={**then, "epochs": then["epochs"] + 1})
    with pytest.raises(ValueError, match="to be of the shipped recipe"):
        ladder.seeds(tmp_path)


@pytest.mark.parametrize("dataset", data.CLASSES)
def test_the_stored_ladder_is_that_of_the_cards(dataset):
    stored = json.loads(ladder.RESULTS.read_text(encoding="utf-8"))["mean_psnr"][dataset]
    found = ladder.cards(dataset)
    assert {method: stored[method] for method in found} == found
    assert stored["ordered"] == ladder.prefixes(dataset)


def test_without_other_trainings_there_is_no_spread(tmp_path):
    assert ladder.seeds(tmp_path) == {}
