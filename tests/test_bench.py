"""What `make bench` computes from what it measures, and what the README says of it."""

import dataclasses
import json
import sys

import bench
import bench_tables
import costs
import factorized
import memory
import profiles
import pytest
import record
import torch
import training

from aelib import train, zoo


def test_a_row_says_how_many_times_the_peer():
    row = record.Row.of("training", "conv", "images/s", 300.0, "a loop", 200.0)
    assert row.ratio == 1.5
    assert str(row).split() == ["training:", "conv", "300", "to", "200", "images/s", "x", "1.5", "a", "loop"]


def test_training_is_held_against_a_loop_and_its_own_arithmetic(monkeypatch):
    ways = {"fit": 300.0, "fit, bfloat16": 500.0, "floor": 400.0, "floor, bfloat16": 600.0}
    loaders = {"loader, 0 workers": 100.0, "loader, 2 workers": 200.0}
    monkeypatch.setattr(training, "measure", lambda *_: ways | loaders)
    rows = list(training.rows(small=True))
    assert [(row.own, row.theirs) for row in rows[:4]] == [(300, 200), (300, 400), (500, 200), (600, 400)]
    assert [row.peer for row in rows[:2]] == ["Dataset, DataLoader, 2 workers", "its arithmetic alone"]
    assert {row.unit for row in rows} == {"images/s"}
    slow = {way: speed for way, speed in ways.items() if "bfloat16" not in way}
    monkeypatch.setattr(training, "measure", lambda *_: slow | loaders)
    assert [(row.own, row.theirs) for row in training.rows(small=True)] == [(300, 200), (300, 400)] * 2


def test_each_codec_is_held_against_formats_at_its_own_bytes(monkeypatch):
    goals = []

    def measure(made, images, rounds):
        speeds = {"encode_images_per_second": 10.0, "decode_images_per_second": 40.0}
        own = {"codec": next(iter(made)), "setting": "own", "bytes": 99.0, **{key: 20.0 for key in speeds}}
        return [own, {"codec": "JPEG", "setting": "JPEG q9", "bytes": 101.0, **speeds}]

    monkeypatch.setattr(bench.throughput, "formats", lambda images, goal: goals.append(goal) or {"JPEG": None})
    monkeypatch.setattr(bench.throughput, "measure", measure)
    monkeypatch.setattr(factorized, "PYTHON", bench.ROOT / "none")
    rows = list(bench.codec_rows(small=True))
    assert goals[0] < goals[1] / 2, "the autoencoder takes fewer bytes, and so do its peers"
    assert [(row.part, row.ratio) for row in rows] == [("encode", 2.0), ("decode", 0.5)] * 2
    assert rows[0].what == "autoencoder, 99 B"
    assert rows[0].peer == "JPEG q9, 101 B"


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_is_the_exponent(power):
    assert costs.slope({size: 0.3 * size**power for size in (4, 10, 30)}) == pytest.approx(power)


def test_rows_by_size_have_a_slope_for_each_kind_of_work():
    rows = costs._by_size(
        {1: {"encoding": 1.0, "decoding": 2.0}, 4: {"encoding": 4.0, "decoding": 2.0}}, "JPEG", "images"
    )
    assert [(row["work"], row["slope"]) for row in rows] == [("encoding, JPEG", 1.0), ("decoding, JPEG", 0.0)]


def test_the_largest_costs_are_named_with_their_share():
    found = profiles._largest({"a": 1.0, "b": 5.0, "c": 3.0, "d": 1.0})
    assert found == [{"name": name, "percent": share} for name, share in (("b", 50.0), ("c", 30.0), ("a", 10.0))]
    names = {cost["name"] for cost in profiles.functions(lambda: [torch.ones(1000).sort() for _ in range(200)])}
    assert "sort" in names


def test_synthetic_digits_are_as_many_as_wanted_and_no_two_batches_alike():
    parts = list(memory.synthetic(memory.CHUNK + 20))
    assert [part.shape for part in parts] == [(memory.CHUNK, 1, 28, 28), (20, 1, 28, 28)]
    assert parts[0].dtype == torch.uint8
    assert not torch.equal(parts[0][:20], parts[1])
    assert torch.equal(parts[1], list(memory.synthetic(memory.CHUNK + 20))[1])


@pytest.mark.skipif(not memory.STATUS.exists(), reason="reads /proc")
def test_the_peak_is_seen_although_it_is_over_at_the_end():
    def work():
        held = torch.ones(50_000_000)  # 200 MB
        return float(held.sum() + held.mean() + held.max())

    before = memory.resident_mb("Anon")
    found = memory.watched(work)
    assert 150 < found["peak_mb"] - before < 250
    assert memory.resident_mb("Anon") - before < 100
    assert found["seconds"] > 0


def test_the_floor_takes_as_many_batches(monkeypatch, photographs):
    batches = []
    monkeypatch.setitem(training.LOSSES, "mse", lambda raw, x, squash: batches.append(len(x)) or raw.mean())
    assert training.floor("cifar10-conv-2", photographs[:50], train.Settings(batch_size=20, loss="mse")) > 0
    assert batches == [20, 20, 20]


def test_what_is_not_to_be_had_is_left_out_by_name(monkeypatch, tmp_path):
    for module, name in ((memory, "STATUS"), (factorized, "PYTHON")):
        monkeypatch.setattr(module, name, tmp_path / "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(train, "computes_bfloat16", lambda device: False)
    found = bench.missing()
    sections = {"together_rows", "coder_rows", "memory_rows"}
    assert set(found) == {*sections, "CompressAI", "bfloat16"}
    assert sections <= {section.__name__ for section in bench.SECTIONS}
    assert "make compressai" in found["CompressAI"]
    assert factorized.measure(3) is None


def test_the_ladder_is_what_the_cards_say(monkeypatch):
    hardware = {
        "cifar10-ordered-384": (24.0, "a GPU"),
        "cifar10-residual-64": (200.0, "x86_64, 1 thread(s), cpu"),
        "cifar10-residual-128": (150.0, "2 x x86_64, 1 thread(s), cpu"),
        "cifar10-conv-64": (160.0, "x86_64, 2 thread(s), cpu"),
    }
    card = zoo.card("cifar10-conv-64")
    monkeypatch.setattr(bench_tables.data, "CLASSES", ("cifar10",))
    monkeypatch.setattr(bench_tables.zoo, "names", lambda dataset: sorted(hardware))
    fields = {name: {"name": name, "seconds": row[0], "hardware": row[1]} for name, row in hardware.items()}
    monkeypatch.setattr(bench_tables.zoo, "card", lambda name: dataclasses.replace(card, **fields[name]))
    found = bench_tables.seconds_of_all()
    assert found == {
        "models": 4,
        "two_cores_seconds": 100 + 150 + 160,
        "gpu_models": 1,
        "gpu_seconds": 24,
        "eight_devices_seconds": 24 + 150,
    }
    assert "24 seconds of a GPU, which trained 1 of them" in bench_tables.ladder()
    monkeypatch.setattr(bench_tables, "seconds_of_all", lambda: found | {"gpu_models": 0})
    assert "of a GPU" not in bench_tables.ladder()


def test_training_on_a_gpu_is_said_where_it_was_measured(monkeypatch, tmp_path):
    row = record.Row.of("training", "conv", "images/s", 300.0, "Dataset, DataLoader, 0 workers", 20.0)
    stored = {"rows": [dataclasses.asdict(row)], "hardware": "a CPU", "epoch_images": 600}
    monkeypatch.setattr(bench_tables, "GPU", tmp_path / "bench_gpu.json")
    one = "conv 300 images a second, 2 s an epoch, 15.00 times as many as the plain loop."
    assert bench_tables.training(stored) == f"On a CPU: {one}"
    bench_tables.GPU.write_text(json.dumps({"rows": stored["rows"], "hardware": "a GPU"}))
    assert bench_tables.training(stored) == f"On a CPU: {one} On a GPU: {one}"


def test_goals_of_training_are_met_or_not(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_tables, "GPU", tmp_path / "bench_gpu.json")
    loop, floor = "Dataset, DataLoader, 2 workers", "its arithmetic alone"
    pairs = [("small", 130, loop, 100), ("small", 130, floor, 200), ("large", 12, loop, 10), ("large", 12, floor, 15)]
    pairs += [("small, two processes", 75, "one process, 2 threads", 100)]
    rows = [record.Row.of("training", what, "images/s", own, peer, theirs) for what, own, peer, theirs in pairs]
    stored = {"rows": [dataclasses.asdict(row) for row in rows]}
    said = bench_tables.goals(stored)
    assert "at least 1.3 times as fast" in said
    assert "small 1.30 times as fast, met, where the arithmetic alone would take 65 % of the time" in said
    assert "large 1.20 times as fast, short of it, where the arithmetic alone would take 80 % of the time" in said
    assert "Two processes reach 0.75 times the speed of one process, 2 threads" in said
    assert "On a GPU" in said
    assert "bfloat16" not in said
    for own in (90, 100.1):
        limit = record.Row.of("notebooks, in full", "all, when last executed", "s", own, "limit of all", 100)
        said = bench_tables.goals({"rows": [dataclasses.asdict(limit)]})
        which = "within" if own < 100 else "over"
        assert f"All notebooks in full take {own:.0f} s, 100 s allowed: {which} their limit." in said
    rough = record.Row.of("training", "large, in bfloat16", "images/s", 17, f"{loop}, in float32", 10)
    stored["rows"].append(dataclasses.asdict(rough))
    bench_tables.GPU.touch()
    said = bench_tables.goals(stored)
    assert "Against the same loop: large, in bfloat16, 1.70 times." in said
    assert "On a GPU" not in said


def test_the_slider_is_said_to_answer_as_soon_as_it_was_measured():
    moves = {"looking": {"count": 50, "median_ms": 59.05, "worst_ms": 77.7}}
    moves["at once"] = {"count": 50, "median_ms": 64.4, "worst_ms": 112.6}
    visit = {"count": 24, "median_ms": 135.0, "worst_ms": 1098.1, "worst_model": "the largest"}
    stored = {
        "hardware": "a laptop",
        "figures": {"kernel": {"first_visit": visit}, "key_to_picture": {"a page": moves}},
    }
    said = bench_tables.slider(stored)
    assert "on a laptop: in a page 59 ms in the median and 78 ms at worst of 50 moves, 64 and 113 ms where" in said
    assert "135 ms in the median and 1,098 ms at worst of 24, with the largest." in said


def test_tables_show_all_but_single_notebooks():
    row = {"part": "import", "what": "all", "unit": "s", "own": 1234.5, "peer": "torch", "theirs": 2.0, "ratio": 617.25}
    stored = {
        "rows": [row, {**row, "part": bench_tables.ALONE, "what": "01_data"}],
        "seconds": 120,
        "hardware": "a machine",
        "load": [0.5, 2.25],
        "left_out": ["CompressAI is not installed"],
        "slopes": [{"work": "encoding", "size": "pixels", "slope": 1.0}],
        "largest_costs": {"training": [{"name": "mm", "percent": 12.3}]},
    }
    shown = bench_tables.peers(stored)
    assert "| import: all | 1,234 s | 2 s | torch | 617 |" in shown
    assert "01_data" not in shown
    assert "in 2 minutes on a machine" in shown
    assert "0.5 at the start, 2.2 at the end" in shown
    assert "Left out: CompressAI is not installed." in shown
    assert "| encoding | - | 1.00 | - |" in bench_tables.growth(stored)
    assert "| training | `mm` 12 % |" in bench_tables.largest(stored)


def test_a_small_run_measures_every_section_and_writes_nothing(monkeypatch, capsys):
    section = lambda small: iter([record.Row.of("import", f"small {small}", "s", 1.0, "peer", 2.0)])  # noqa: E731
    left_out, broken = (lambda small: print("RUN") for _ in range(2))
    left_out.__name__, broken.__name__ = "coder_rows", "memory_rows"
    monkeypatch.setattr(bench, "missing", lambda: {"coder_rows": "constriction is not installed"})
    monkeypatch.setattr(bench, "SECTIONS", (broken, section, left_out))
    monkeypatch.setattr(bench.costs, "growth", lambda counts: [])
    monkeypatch.setattr(bench.profiles, "measure", None)
    monkeypatch.setattr(bench.record, "write", None)
    monkeypatch.setattr(sys, "argv", ["bench.py", "--small"])
    bench.main()
    said = capsys.readouterr().out
    assert "import: small True" in said
    assert said.count("RUN") == 1
    assert "memory_rows broke off: TypeError" in said
    assert "largest costs broke off: TypeError" in said
    written = []
    monkeypatch.setattr(bench.costs, "growth", lambda: [])
    monkeypatch.setattr(bench.record, "write", lambda file, packages, content, where: written.append(content))
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    bench.main()
    assert json.loads(json.dumps(written))[0]["rows"][0]["ratio"] == 0.5


def test_pictures_are_timed_beyond_what_decodes_unasked(monkeypatch):
    monkeypatch.setattr(costs.entropy, "seconds", lambda work: len(work()))
    picture = torch.zeros(1, 3, 512, 512, dtype=torch.uint8)
    assert costs._both_ways(zoo.load_learned("cifar10", 0), picture) == {"encoding": 1, "decoding": 1}
