"""The loop of benchmarks/fuzz.py finds what it is there to find, and no busy machine."""

import contextlib
import json
import multiprocessing
import random
import sys
import time
from functools import cache

import fuzz
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelib import codecs

# Those that take no longer than some milliseconds an input; `make fuzz` has all.
QUICK = (
    "card",
    "results",
    "sizes",
    "published",
    "rate checkpoint",
    "cached data",
    "mapped",
    "package",
    "package, photographs",
)
QUICK += ("official", "begin", "containers", "checkpoint", "tables", "ordered card", "learned card")


@cache
def target(name):
    return fuzz.targets()[name]()


@pytest.mark.parametrize("name", QUICK)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused(name, seed):
    seeds, read = target(name)
    with contextlib.suppress(ValueError):
        read(fuzz.mutated(seeds, random.Random(seed)))


@pytest.fixture
def fuzzed(monkeypatch, tmp_path):
    """Feed inputs to a function, with seconds that are short; return the row of the table."""

    def run(target, count=30):
        rows = []
        monkeypatch.setattr(fuzz, "targets", lambda: {"own": lambda: ([bytes(range(200))], target)})
        monkeypatch.setattr(fuzz, "SECONDS", 0.2)
        monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
        current, length = multiprocessing.RawArray("c", fuzz.LONGEST), multiprocessing.RawValue("l", 0)
        fuzz.run("own", count, "0", current, length, type("Pipe", (), {"send": staticmethod(rows.append)}))
        return rows[0]

    return run


def test_refusals_are_counted_and_other_errors_are_findings(fuzzed, tmp_path):
    def target(content):
        if content != bytes(range(200)):
            raise (ValueError if len(content) < 200 else KeyError)("no")

    row = fuzzed(target)
    assert 0 < row["refused"] < 30
    assert row["refused"] + len(row["findings"]) == row["inputs"] == 30
    assert {finding.split(":")[0] for finding in row["findings"]} == {"KeyError('no')"}
    assert all((tmp_path / finding.split(": ")[1]).is_file() for finding in row["findings"])


@pytest.mark.parametrize("error", [KeyError, MemoryError])
def test_an_error_of_a_decoder_is_not_hidden_by_its_payloads_refusal(error):
    class Broken(codecs.Png):
        def decode(self, streams, **options):
            try:
                return super().decode(streams, **options)
            except ValueError:
                raise error("no") from None

    seeds, decode = fuzz.codec_target(Broken())
    decode(seeds[0])
    with pytest.raises(ValueError, match="PNG"):
        codecs.Png().payload(b"no picture")
    with pytest.raises(error, match="no"):
        decode(b"no picture")


def test_an_input_that_is_always_slow_is_a_finding_and_one_that_once_was_is_none(fuzzed):
    seen = []

    def target(content):
        seen.append(content)
        if len(seen) in (5, 8):  # a busy machine
            time.sleep(0.3)

    row = fuzzed(target)
    assert (row["measured_again"], row["findings"]) == (2, [])
    assert len(seen) == 1 + 30 + 2
    assert row["longest_seconds"] < 0.2
    row = fuzzed(lambda content: time.sleep(0.3 * (len(content) != 200)), 10)
    assert row["measured_again"] == len(row["findings"]) > 0
    assert all(finding.startswith("0.3") for finding in row["findings"])


@pytest.mark.skipif(sys.platform != "linux", reason="counts the peak of memory as Linux does")
def test_a_target_that_takes_much_memory_is_a_finding(fuzzed):
    row = fuzzed(lambda content: bytearray(80 << 20), 3)
    assert len(row["findings"]) == 3
    assert row["largest_growth_mib"] > 64


def test_parts_are_kept_unless_they_found_something_and_are_added_up(monkeypatch, tmp_path):
    asked = []

    def watched(name, count, seed):
        asked.append(seed)
        row = {"target": name, "inputs": count, "refused": 1, "measured_again": 0}
        row["findings"] = ["KeyError: own-1"] if seed == "0-20" else []
        return row | {"longest_seconds": 0.5 if seed == "0-20" else 0.1, "largest_growth_mib": 2.0}

    monkeypatch.setattr(fuzz, "watched", watched)
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    for _ in range(2):
        rows = [fuzz.part("own", count, seed) for count, seed in ((20, "0-0"), (20, "0-20"), (5, "0-40"))]
    assert asked == ["0-0", "0-20", "0-40", "0-20"]
    assert fuzz.together(rows) == {
        "target": "own",
        "inputs": 45,
        "refused": 3,
        "measured_again": 0,
        "findings": ["KeyError: own-1"],
        "longest_seconds": 0.5,
        "largest_growth_mib": 2.0,
    }


def test_a_row_replaces_that_of_its_target_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz, "RESULTS", tmp_path / "fuzz.json")
    monkeypatch.setattr(fuzz, "targets", lambda: {"png": None, "card": None})
    for number, (code, target) in enumerate([("old", "card"), ("old", "png"), ("new", "card")]):
        monkeypatch.setattr(fuzz, "code", lambda code=code: code)
        fuzz.store({"target": target, "inputs": number}, seed=7)
    rows = json.loads(fuzz.RESULTS.read_bytes())["rows"]
    assert rows == [
        {"target": "png", "inputs": 1, "seed": 7, "code": "old"},
        {"target": "card", "inputs": 2, "seed": 7, "code": "new"},
    ]


def test_a_target_that_refuses_everything_is_no_target(fuzzed):
    def target(content):
        raise ValueError("no")

    with pytest.raises(ValueError, match="expected seeds of which some are accepted, got none"):
        fuzzed(target)
