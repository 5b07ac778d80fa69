import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aelib import benchmark, curves, tables
from aelib.codecs import Png


@pytest.fixture
def point():
    base = benchmark.measure(Png(), torch.zeros(2, 3, 32, 32, dtype=torch.uint8))

    def make(size, psnr, whole=None):
        shared, file = (benchmark.Spread(8 * cost / 1024, 0.0) for cost in (size, whole or size))
        rates = {"rate_shared": shared, "rate_file": file, "rate_mosaic": shared.mean, "psnr_mosaic": psnr}
        return replace(base, psnr=benchmark.Spread(psnr, 0.0), **rates)

    return make


def cells(table):
    """Rows of a Markdown table, the separator left out."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines[1])) <= set("-:")
    return [lines[0], *lines[2:]]


def test_markdown_has_a_cell_for_every_value():
    assert cells(tables.markdown(["a", "b"], [["1", "2"], ["3", "4"]])) == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_methods_by_size_leave_gaps_and_mark_the_best():
    table = cells(tables.by_size({"PCA": {4: 10.0, 2: 9.0}, "conv": {4: 12.344}}, title="digits"))
    assert table == [["digits", "K = 2", "K = 4"], ["PCA", "**9.00**", "10.00"], ["conv", "-", "**12.34**"]]
    table = cells(tables.by_size({"PCA": {4: 10.0}, "dense": {4: 10.01}, "conv": {4: 9.98}}, title="digits"))
    assert [row[1] for row in table[1:]] == ["**10.00**", "**10.01**", "9.98"]  # as good as equal
    (quoted,) = tables.QUOTED
    table = cells(tables.by_size({"PCA": {4: 10.0}, quoted: {2: 9.26, 4: 12.0}}, title="digits"))
    assert table[1:] == [["PCA", "-", "**10.00**"], [quoted, "9.3", "12.0"]]


def test_stored_sizes_are_read_as_numbers(tmp_path):
    file = tmp_path / "ladder.json"
    file.write_text(json.dumps({"mean_psnr": {"mnist": {"PCA": {"2": 10, "16": 12.5}}}}))
    assert tables.read_sizes(file, "mnist") == {"PCA": {2: 10.0, 16: 12.5}}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"mean_psnr": {}}',
        '{"mean_psnr": {"mnist": {"PCA": {"two": 1}}}}',
        '{"mean_psnr": {"mnist": {"PCA": {"2": 1' + 400 * "0" + "}}}}",
        "[" * 200_000,
    ],
    ids=range(7),
)
def test_damaged_sizes_are_refused(tmp_path, content):
    file = tmp_path / "ladder.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"expected mean PSNR by method and size for mnist in .*ladder\.json, got"):
        tables.read_sizes(file, "mnist")


def test_matched_reads_each_hull_at_the_same_bytes_and_marks_the_best(point):
    results = {
        "jpeg": [point(40, 20.0, 340), point(60, 30.0, 360)],
        "conv-2": [point(8, 18.0, 15)],
        "conv-4": [point(40, 26.0, 47)],
    }
    head, *rows = cells(tables.matched(results, [8, 50], title="photographs"))
    assert head == ["photographs", "mean PSNR in dB at", "8 B, 0.0625 bpp", "50 B, 0.391 bpp"]
    assert rows == [
        ["whole file", "JPEG", "-", "-"],
        ["whole file", "autoencoder", "-", "**26.0**"],
        ["shared header", "JPEG", "-", "25.0"],
        ["shared header", "autoencoder", "**18.0**", "**26.0**"],
        ["mosaic", "JPEG", "-", "25.0"],
        ["mosaic", "autoencoder", "**18.0**", "**26.0**"],
    ]


def test_passed_says_where_others_pass(point):
    results = {
        "conv-2": [point(10, 20.0, 20), point(30, 26.0, 40)],
        "jpeg": [point(20, 18.0, 320), point(40, 28.0, 340)],  # meets 26 dB, all that the autoencoder has, at 36 bytes
        "webp": [point(15, 25.0, 15), point(60, 30.0, 60)],  # better from its first point on
        "avif": [point(50, 25.0, 90)],
    }
    head, *rows = cells(tables.passed(results, title="photographs"))
    assert head == ["photographs: the autoencoder is first passed at", "AVIF", "JPEG", "WebP"]
    assert rows == [
        ["whole file", "never", "336 B", "20 B"],
        ["shared header", "never", "36 B", "15 B"],
        ["mosaic", "never", "36 B", "15 B"],
    ]


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ([(1, 20), (2, 22)], [(1, 18), (3, 26)], 2.0),
        ([(1, 20), (3, 22)], [(1, 19), (3, 23)], 2.0),
        ([(1, 20)], [(2, 19), (4, 23)], 2.5),
        ([(1, 20)], [(2, 21)], 2),
        ([(1, 20)], [(2, 20)], None),
        ([(2, 20)], [(1, 21)], 2),
    ],
)
def test_passed_at_is_where_the_curves_cross(own, other, expected):
    assert curves.passed_at(own, other) == expected


def test_bjontegaard_names_the_interval_and_what_cannot_be_compared(point):
    rates = (10, 20, 40, 80, 160)
    quality = [20 + 6 * np.log2(rate / 10) for rate in rates]
    results = {
        "jpeg": [point(rate, psnr, 10 * rate) for rate, psnr in zip(rates, quality, strict=True)],
        "conv-2": [point(rate / 2, psnr, rate / 2) for rate, psnr in zip(rates, quality, strict=True)],
        "webp": [point(rate, psnr + 40) for rate, psnr in zip(rates, quality, strict=True)],
    }
    _, *rows = cells(tables.bjontegaard(results, ["JPEG", "WebP", "AVIF"], title="photographs"))
    against = {(accounting, name): figures for accounting, name, *figures in rows}
    assert against["shared header", "autoencoder against JPEG"] == [
        "-50 %",
        "20.0 to 44.0 dB",
        "+6.0 dB",
        "0.078 to 0.62 bpp",
    ]
    assert against["whole file", "autoencoder against JPEG"] == ["-95 %", "20.0 to 44.0 dB", "-", "-"]
    assert against["mosaic", "autoencoder against WebP"] == ["-", "too little in common", "-", "-"]
    assert against["mosaic", "autoencoder against AVIF"] == ["-", "too little in common", "-", "-"]
    _, *rows = cells(tables.bjontegaard(results, ["JPEG"], title="photographs", low=43))
    assert rows[1][2:] == ["-", "too little in common", "-", "-"]


def test_other_seeds_change_no_rank():
    """Those of the best networks less than what counts as equal, those of others less than what they are behind."""
    stored = json.loads((Path(__file__).parent.parent / "results" / "ladder.json").read_text(encoding="utf-8"))
    near = []
    for name, row in stored["seeds"].items():
        dataset, _, size = name.split("-")
        methods = stored["mean_psnr"][dataset].items()
        best = max(values[size] for method, values in methods if method not in tables.QUOTED and size in values)
        behind = best - row["mean_psnr"][0]
        if behind <= tables.TIE:
            near.append(name)
            assert row["deviation"] < tables.TIE / 2
        else:
            assert behind > 4 * row["deviation"]
    assert near
