"""Tables of measured results as Markdown, the same in the README and in the notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from aelib import benchmark, curves, storage
from aelib.benchmark import Point

# Figures of others, given to a tenth of a decibel and not measured here.
QUOTED = ("UvA tutorial 9",)
TIE = 0.02  # dB, more than other seeds change of the best (results/ladder.json), and less than a reader sees
ACCOUNTING_TITLES = {"file": "whole file", "shared": "shared header", "mosaic": "mosaic"}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_sizes(file: Path, dataset: str) -> dict[str, dict[int, float]]:
    """Return mean PSNR in dB on a test set by method and bottleneck size K, from what ``make ladder`` wrote.

    Raises
    ------
    ValueError
        The file is damaged or does not have the data set.
    """
    try:
        stored = storage.read_json(file)["mean_psnr"][dataset]
        return {method: {int(size): float(value) for size, value in row.items()} for method, row in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"expected mean PSNR by method and size for {dataset} in {file}, got {error!r}") from error


def read_published(file: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the rate-distortion curves of others, points (bit per pixel, mean PSNR in dB) by method.

    Their rates are entropies under the model, not bytes; the file names the sources.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    try:
        stored = storage.read_json(file)["curves"]
        return {name: [(float(rate), float(psnr)) for rate, psnr in row["points"]] for name, row in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"expected curves of points by method in {file}, got {error!r}") from error


def by_size(methods: Mapping[str, Mapping[int, float]], *, title: str) -> str:
    """Return mean PSNR in dB of each method at each bottleneck size, the best measured ones of each size in bold.

    Those within `TIE` of the best are as good.

    Parameters
    ----------
    methods : mapping of str to mapping of int to float
        Method to K to mean PSNR in dB.
    title : str
        Names data set and number of images.
    """
    sizes = sorted({size for row in methods.values() for size in row})
    measured = [row for label, row in methods.items() if label not in QUOTED]
    best = {size: max((row[size] for row in measured if size in row), default=math.inf) for size in sizes}
    rows = []
    for label, row in methods.items():
        quoted = label in QUOTED
        as_good = {size: not quoted and value >= best[size] - TIE for size, value in row.items()}
        cells = [_number(row.get(size), bold=as_good.get(size, False), digits=1 if quoted else 2) for size in sizes]
        rows.append([label, *cells])
    return markdown([title, *(f"K = {size}" for size in sizes)], rows)


def matched(results: Mapping[str, Sequence[Point]], sizes: Sequence[int], *, title: str) -> str:
    """Return mean PSNR in dB of each codec's convex hull where an image costs so many bytes, in all accountings.

    Parameters
    ----------
    results : mapping of str to sequence of Point
        As `aelib.benchmark.read_folder` returns them.
    sizes : sequence of int
        Bytes an image.
    title : str
        Names data set and number of images.
    """
    point = next(iter(results.values()))[0]
    pixels = point.height * point.width
    rows = []
    for accounting, label in ACCOUNTING_TITLES.items():
        hulls = benchmark.hulls(results, accounting)
        columns = [{codec: curves.psnr_at(hull, 8 * size / pixels) for codec, hull in hulls.items()} for size in sizes]
        best = [max((value for value in column.values() if value is not None), default=None) for column in columns]
        for codec in hulls:
            values = [column[codec] for column in columns]
            cells = [_number(value, bold=value == top, digits=1) for value, top in zip(values, best, strict=True)]
            rows.append([label, codec, *cells])
    head = [title, "mean PSNR in dB at", *(f"{size} B, {8 * size / pixels:.3g} bpp" for size in sizes)]
    return markdown(head, rows)


def passed(results: Mapping[str, Sequence[Point]], *, title: str, codec: str = "autoencoder") -> str:
    """Return how many bytes an image may have until each other codec's hull passes that of `codec` for the first time.

    Parameters
    ----------
    results : mapping of str to sequence of Point
    title : str
        Names data set and number of images.
    codec : str
    """
    point = next(iter(results.values()))[0]
    hulls = {accounting: benchmark.hulls(results, accounting) for accounting in ACCOUNTING_TITLES}
    others = [other for other in hulls["file"] if other != codec]
    rows = []
    for accounting, label in ACCOUNTING_TITLES.items():
        own = hulls[accounting][codec]
        rates = [curves.passed_at(own, hulls[accounting][other]) for other in others]
        rows.append([label, *("never" if r is None else f"{r * point.height * point.width / 8:.0f} B" for r in rates)])
    return markdown([f"{title}: the {codec} is first passed at", *others], rows)


def floor(results: Mapping[str, Sequence[Point]]) -> str:
    """Return what the lossless codecs take, in words."""
    found = [
        f"{point.codec} {point.rate_file.mean * point.height * point.width / 8:,.0f} bytes an image as whole files, "
        f"{point.rate_shared.mean * point.height * point.width / 8:,.0f} with a shared header"
        for point in results.get("lossless", ())
    ]
    return f"Without any loss: {'; '.join(found)}."


def _number(value: float | None, *, bold: bool, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"**{value:.{digits}f}**" if bold else f"{value:.{digits}f}"


def bjontegaard(
    results: Mapping[str, Sequence[Point]],
    anchors: Sequence[str],
    *,
    title: str,
    codec: str = "autoencoder",
    low: float = 0.0,
    high: float = 99.0,
    published: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> str:
    """Return BD-rate and BD-PSNR of one codec's hull against those of others, with the intervals behind them.

    Parameters
    ----------
    results : mapping of str to sequence of Point
    anchors : sequence of str
        Codecs to compare with.
    title : str
        Names data set and number of images.
    codec : str
        Whose difference is told; a negative rate means that it needs fewer bytes.
    low, high : float
        The curves are cut off here, mean PSNR in dB.
    published : mapping of str to sequence of (float, float), optional
        Curves of others, (bit per pixel, dB), to compare with under the shared header.
    """
    rows = []
    for accounting, label in ACCOUNTING_TITLES.items():
        own = (published or {}) if accounting == "shared" else {}
        hulls = {**benchmark.hulls(results, accounting), **own}
        for anchor in (*anchors, *own):
            try:
                delta = curves.bjontegaard_delta(hulls[anchor], hulls[codec], low=low, high=high)
                gain = "-" if math.isnan(delta.psnr) else f"{delta.psnr:+.1f} dB"
                rates = "-" if math.isnan(delta.psnr) else f"{delta.low_rate:.2g} to {delta.high_rate:.2g} bpp"
                cells = [f"{delta.rate:+.0f} %", f"{delta.low:.1f} to {delta.high:.1f} dB", gain, rates]
            except (KeyError, ValueError):  # not measured, or the curves do not meet
                cells = ["-", "too little in common", "-", "-"]
            rows.append([label, f"{codec} against {anchor}", *cells])
    return markdown([title, "", "BD-rate", "mean over", "BD-PSNR", "mean over"], rows)
