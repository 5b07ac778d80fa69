"""What README.md says of fuzzing and mutants is what was stored, findings among it."""

import json

import fuzz
import mutants
import pytest
import robustness


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Replace results by own ones."""

    def store(tool, content):
        (tmp_path / "own.json").write_text(json.dumps(content), encoding="utf-8")
        monkeypatch.setattr(tool, "RESULTS", tmp_path / "own.json")

    return store


def row(target, inputs, refused, seconds, mebibytes, findings=(), code="own"):
    return {
        "code": code,
        "target": target,
        "inputs": inputs,
        "refused": refused,
        "read": inputs - refused - len(findings),
        "longest_seconds": seconds,
        "largest_growth_mib": mebibytes,
        "findings": list(findings),
    }


def test_inputs_are_added_up_and_extremes_named(stored):
    stored(fuzz, {"rows": [row("png", 5000, 4000, 0.25, 3.0), row("card", 7000, 7000, 0.125, 9.0)]})
    said = robustness.fuzzed()
    assert "2 decoders and loaders were each given 5,000 damaged" in said
    assert "11,000 of 12,000 were refused with ValueError, 1,000 read" in said
    assert "The slowest took 0.25 s (png; 1 s is allowed), the largest 9 MiB of memory (card; 64 MiB" in said
    assert "Findings: none. Measured on one state of the code, whose hash is in results/fuzz.json, and not" in said


def test_a_finding_is_told_and_not_counted_as_read(stored):
    stored(fuzz, {"rows": [row("png", 5000, 4000, 1.5, 3.0, ["1.500 s: runs/fuzz/png-1"])]})
    said = robustness.fuzzed()
    assert "999 read" in said
    assert "Findings: png: 1.500 s: runs/fuzz/png-1. Measured" in said


def test_rows_of_other_code_are_told(stored):
    stored(fuzz, {"rows": [row(name, 5000, 4000, 0.5, 3.0, code=name) for name in ("png", "card")]})
    assert "Measured on 2 states of the code, whose hashes are in results/fuzz.json, and not" in robustness.fuzzed()


def test_what_was_not_measured_is_said(monkeypatch, tmp_path):
    for tool in (fuzz, mutants):
        monkeypatch.setattr(tool, "RESULTS", tmp_path / "none.json")
    assert set(robustness.blocks().values()) == {"Not measured yet."}


def test_each_group_of_mutants_has_a_row(stored):
    stored(mutants, {"groups": {"metrics": [3, 4], "entropy": [1500, 1500]}})
    table = robustness.mutated().splitlines()
    assert table[2] == "| metrics (`aelib.metrics`) | 3 of 4 | 75.0 % |"
    assert table[3] == "| entropy (`aelib.entropy`, `aelib.range_coder`) | 1,500 of 1,500 | 100.0 % |"
