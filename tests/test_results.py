import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from aelib import benchmark, codecs, zoo

ROOT = Path(__file__).parent.parent


@pytest.fixture
def results(monkeypatch):
    monkeypatch.setenv("AELIB_SOURCE", "sample")
    found = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "results", module)  # where the processes of the pool look for its functions
    found.loader.exec_module(module)
    return module


def test_every_shipped_model_and_every_format_has_a_series(results):
    for dataset, count in (("mnist", 9), ("cifar10", 11)):
        series = results.everything(dataset)
        assert {f"{dataset}-{label}" for label in series} >= set(zoo.names(dataset))
        assert len(zoo.names(dataset)) >= count
        assert {"avif", "webp", "jpeg2000", "jpegxl", "lossless"} <= set(series)
        for label, settings in results.classical(dataset).items():
            assert label == "lossless" or benchmark.codec_of(label) != "autoencoder", "a label in benchmark._CLASSICAL"
            for module in {type(make()).__module__ for make in settings}:
                assert module.removeprefix("aelib.").replace(".", "/") in results.CODE


def test_a_finished_point_is_not_measured_again(results, tmp_path, monkeypatch):
    file = results.run(("mnist", "jpeg", 3), 5, tmp_path)
    (point,), said = benchmark.read(file)
    assert (point.images, point.codec, said["series"]) == (5, "JPEG 4:4:4 q15", "jpeg")
    monkeypatch.setattr(results.benchmark, "measure", None)
    assert results.run(("mnist", "jpeg", 3), 5, tmp_path) == file


def test_other_code_weights_packages_or_settings_are_measured_again(results, tmp_path, monkeypatch):
    said = results.about("cifar10", "conv-64", "sample")
    assert said["tables_sha256"] == zoo.card("cifar10-conv-64").tables_sha256
    assert "weights_sha256" not in results.about("cifar10", "webp", "sample")
    first = results.key(said, "codec q1", 100)
    others = [({**said, "tables_sha256": "x"}, "codec q1", 100), (said, "codec q2", 100), (said, "codec q1", 99)]
    others.append(({**said, "versions": {**said["versions"], "torch": "1"}}, "codec q1", 100))
    assert len({first, *(results.key(*other) for other in others)}) == 5
    for module in results.CODE + results.NETWORK_CODE + results.LEARNED_CODE + results.AUTOENCODER_CODE:
        copy = tmp_path / "aelib" / f"{module}.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / "aelib" / f"{module}.py").read_bytes())
    monkeypatch.setattr(results, "ROOT", tmp_path)
    results.code.cache_clear()
    assert results.key(said, "codec q1", 100) == first
    with (tmp_path / "aelib" / "entropy.py").open("a") as file:
        file.write("#")
    assert results.key(said, "codec q1", 100) == first, "an edit during a run is not what that run measures"
    results.code.cache_clear()
    assert results.key(said, "codec q1", 100) != first


def test_the_learned_codec_has_a_series_an_effort_and_is_measured_again_when_its_own_code_changes(results):
    series = results.learned("cifar10")
    assert list(series) == ["learned", "learned-slow", "learned-best"]
    assert series["learned-slow"][4]().name == "learned q3.5 slow"
    said = results.about("cifar10", "learned-slow", "sample")
    assert said["weights_sha256"] == zoo.learned_card("cifar10")["sha256"]
    first, other = results.key(said, "q1", 100), results.key({**said, "series": "conv-64"}, "q1", 100)
    results.code.cache_clear()
    assert first == results.key(said, "q1", 100) != other


def test_a_missing_library_skips_its_series_by_name(results, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = results.run(("cifar10", "jpegxl", 0), 2, tmp_path)
    assert said == "skipped: JPEG 2000 and JPEG XL need the package imagecodecs, which this platform lacks"
    assert not list(tmp_path.iterdir())


def test_one_broken_point_loses_no_other_and_progress_is_shown(results, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    tasks = [("mnist", "jpeg", 0), ("mnist", "jpeg", 99), ("mnist", "conv-4", 0)]
    done, failed = results.measure_all(tasks, 3, tmp_path)
    assert (set(done), failed) == ({tasks[0], tasks[2]}, 1)
    assert all(json.loads(file.read_text())["points"] for file in done.values())
    shown = capsys.readouterr()
    assert "mnist jpeg: failed: IndexError" in shown.out + shown.err
    assert "3/3" in shown.err


def test_a_trial_is_published_whole_and_leaves_nothing_of_another_run(results, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(results, "everything", lambda name: {"png": [codecs.Png], "jpeg": [lambda: codecs.Jpeg(50)]})
    (tmp_path / "cifar10-old.json").write_text("{}")
    folders = ["--runs", str(tmp_path / "runs"), "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["results.py", "--images", "3", *folders])
    assert results.main() == 0
    names = {file.name for file in tmp_path.glob("*.json")}
    assert names == {f"{name}-{label}.json" for name in ("mnist", "cifar10") for label in ("png", "jpeg")}
    (tmp_path / "cifar10-jpeg.json").write_text("kept")
    (tmp_path / "mnist-png.json").unlink()
    monkeypatch.setattr(sys, "argv", ["results.py", "--images", "3", "--series", "png", *folders])
    assert results.main() == 0
    assert (tmp_path / "cifar10-jpeg.json").read_text() == "kept"
    assert (tmp_path / "mnist-png.json").is_file()
    monkeypatch.setattr(sys, "argv", ["results.py", "--images", "3", "--series", "gif", *folders])
    with pytest.raises(SystemExit):
        results.main()


def test_the_sample_is_not_published_as_results(results, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["results.py"])
    with pytest.raises(SystemExit):
        results.main()
    assert "results/ is for the full test sets, got {'mnist': 'sample', 'cifar10': 'sample'}" in capsys.readouterr().err
