"""Measure every codec and every shipped model on the full test sets and write ``results/*.json``: ``make results``.

One process per CPU; each takes one series after the other, a data set and a codec over its settings. A stopped run
goes on: finished series wait in ``runs/results`` and are published in ``results`` when all are done.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from aelib import benchmark, codecs, data, quantise, zoo

ROOT = Path(__file__).parent.parent
JPEG_QUALITIES = (3, 6, 10, 15, 22, 32, 45, 60, 75, 87, 95)

Series = list[Callable[[], codecs.Codec]]


def classical(dataset: str) -> dict[str, Series]:
    """Return the series of the classical codecs: name to the codec at each setting."""
    channels = data.SHAPES[dataset][0]
    series: dict[str, Series] = {}
    for subsampling in ("4:4:4", "4:2:0") if channels == 3 else ("4:4:4",):
        for optimize in (True, False):
            for flat in (False, True):
                label = "jpeg" + (f"-{subsampling.replace(':', '')}" if channels == 3 else "")
                label += ("" if optimize else "-standard") + ("-flat" if flat else "")
                settings = [(quality, subsampling, optimize, flat) for quality in JPEG_QUALITIES]
                series[label] = [lambda given=given: codecs.Jpeg(*given) for given in settings]
    series["webp"] = [lambda q=q: codecs.WebP(q, channels) for q in (0, 10, 25, 40, 55, 70, 82, 91, 97)]
    series["avif"] = [lambda q=q: codecs.Avif(q, 6, channels) for q in (1, 15, 30, 45, 60, 75, 88)]
    series["jpeg2000"] = [lambda dB=dB: codecs.Jpeg2000(dB) for dB in (16, 19, 22, 25, 28, 31, 34, 38)]
    series["jpegxl"] = [lambda d=d: codecs.JpegXl(d) for d in (0.7, 1.5, 3.0, 6.0, 12.0, 25.0)]
    series["lossless"] = [codecs.Png, lambda: codecs.WebP(None, channels)]
    return series


def learned(dataset: str) -> dict[str, Series]:
    """Return the series of the shipped autoencoders: each model at every quality."""
    return {
        name.removeprefix(f"{dataset}-"): [lambda n=name, q=q: zoo.load_codec(n, q) for q in quantise.QUALITIES]
        for name in zoo.names(dataset)
    }


def installed(package: str) -> bool:
    """Return whether a package is there; imagecodecs is not on every platform."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def run(dataset: str, label: str, count: int | None, folder: Path) -> str:
    """Measure one series and write it; return what to print."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    test = data.load(dataset, "test")
    images = test.images[:count]
    try:
        made = [make() for make in {**classical(dataset), **learned(dataset)}[label]]
    except ImportError as error:
        return f"skipped: {error}"
    about: dict[str, Any] = {
        "dataset": dataset,
        "series": label,
        "data_sha256": data.SHA256[dataset]["x_test"] if test.source != "sample" else "bundled sample",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("aelib", "torch", "numpy", "pillow", "imagecodecs") if installed(name)},
        },
        "hardware": f"{platform.machine()}, 1 thread a process",
    }
    weights = zoo.WEIGHTS / f"{dataset}-{label}.safetensors"
    if weights.is_file():
        about["weights_sha256"] = zoo.card(weights.stem).sha256
    file = folder / f"{dataset}-{label}.json"
    if file.is_file():
        stored, said = benchmark.read(file)
        if said == {"schema": benchmark.SCHEMA, **about} and [p.codec for p in stored] == [c.name for c in made]:
            return "done before"
    points = [benchmark.measure(codec, images, mosaic=True) for codec in made]
    benchmark.write(file, points, about)
    return f"{len(points)} points in {time.perf_counter() - start:.0f} s"


def main() -> int:
    """Measure all series that are not yet done, then publish them together."""
    parser = argparse.ArgumentParser(prog="python benchmarks/results.py", description=__doc__)
    parser.add_argument("--images", type=int, help="only so many test images of each data set; for a trial")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "results", help="where finished series wait")
    parser.add_argument("--folder", type=Path, default=ROOT / "results", help="where the results are published")
    given = parser.parse_args()
    if given.images and given.folder == ROOT / "results":
        parser.error("--images is for a trial: give a --folder, results/ is for the full test sets")
    runs = given.runs / (f"first-{given.images}" if given.images else "full")
    wanted = [(dataset, label) for dataset in data.CLASSES for label in {**learned(dataset), **classical(dataset)}]
    # The longest first, so that no process is left alone at the end.
    wanted.sort(key=lambda item: (item[1] not in ("avif", "jpegxl", "lossless"), item))
    failed = False
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        futures = {pool.submit(run, *item, given.images, runs): item for item in wanted}
        for number, future in enumerate(as_completed(futures), 1):
            dataset, label = futures[future]
            try:
                said = future.result()
            except Exception as error:  # one broken series must not lose the others
                failed, said = True, f"failed: {error!r}"
            print(f"[{number} of {len(wanted)}] {dataset} {label}: {said}", flush=True)
    if failed:
        print("Some series failed; the others are kept, run the command again.", file=sys.stderr)
        return 1
    given.folder.mkdir(parents=True, exist_ok=True)
    for dataset, label in wanted:
        if (file := runs / f"{dataset}-{label}.json").is_file():
            partial = given.folder / f"{file.name}.partial"
            shutil.copyfile(file, partial)
            partial.replace(given.folder / file.name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
