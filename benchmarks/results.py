"""Measure every codec and every shipped model on the full test sets and write ``results/*.json``: ``make results``.

One process per CPU; each takes one point after the other, a codec at one setting on one data set. A stopped run goes
on: finished points wait in ``runs/results``, each under a key of the code, weights, data and packages that it was
measured with, and are published in ``results``, one file per codec, when all are done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from aelib import benchmark, codecs, data, quantise, zoo
from aelib.arguments import positive_int

ROOT = Path(__file__).parent.parent
JPEG_QUALITIES = (3, 6, 10, 15, 22, 32, 45, 60, 75, 87, 95)

SLOW = ("learned-best", "avif", "learned-slow", "jpegxl", "lossless")
SLOW_MODELS = ("residual", "ordered")
# What a point depends on, in aelib: a change here measures it again, a change of a figure does not.
CODE = (
    "benchmark",
    "containers",
    "curves",
    "files",
    "av1",
    "avif",
    "guards",
    "images",
    "metrics",
    "codecs/base",
    "codecs/pillow",
    "codecs/codestreams",
)
AUTOENCODER_CODE = ("bottleneck", "codecs/autoencoder", "models", "quantise", "residual")
LEARNED_CODE = ("codecs/lanes", "codecs/learned", "exact", "learned", "prior", "residual", "search")
NETWORK_CODE = ("cards", "codecs/header", "entropy", "range_coder", "zoo")
# Closer round one bit per pixel, at which codecs are compared; the longest search is measured there alone.
LEARNED_QUALITIES, BEST_QUALITIES = (0, 1, 2, 3, 3.5, 4, 5, 6, 7), (3.5, 4)

Series = list[Callable[[], codecs.Codec]]
Task = tuple[str, str, int]


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


def autoencoders(dataset: str) -> dict[str, Series]:
    """Return the series of the shipped autoencoders, each at every quality, those that are slow to decode at some."""
    return {
        name.removeprefix(f"{dataset}-"): [
            lambda n=name, q=q: zoo.load_codec(n, q)
            for q in (quantise.QUALITIES[1::2] if name.split("-")[1] in SLOW_MODELS else quantise.QUALITIES)
        ]
        for name in zoo.names(dataset)
    }


def learned(dataset: str) -> dict[str, Series]:
    """Return the series of the codec that is trained for rate, one an effort."""
    if dataset not in zoo.learned_names():
        return {}
    qualities = {"default": LEARNED_QUALITIES, "slow": LEARNED_QUALITIES, "best": BEST_QUALITIES}
    return {
        "learned" if effort == "default" else f"learned-{effort}": [
            lambda e=effort, q=q: zoo.load_learned(dataset, q, effort=e) for q in qualities[effort]
        ]
        for effort in codecs.EFFORTS
    }


def everything(dataset: str) -> dict[str, Series]:
    """Return all series of a data set."""
    return {**learned(dataset), **autoencoders(dataset), **classical(dataset)}


def installed(package: str) -> bool:
    """Return whether a package is there; imagecodecs is not on every platform."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


@cache
def load(dataset: str) -> data.Dataset:
    """Return the test images of a data set, read once a process."""
    return data.load(dataset, "test")


def about(dataset: str, label: str, source: str) -> dict[str, Any]:
    """Return what is said of all points of a series: data, weights, packages, machine."""
    said: dict[str, Any] = {
        "dataset": dataset,
        "series": label,
        "data_sha256": data.SHA256[dataset]["x_test"] if source != "sample" else "bundled sample",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("aelib", "torch", "numpy", "pillow", "imagecodecs") if installed(name)},
        },
        "hardware": f"{platform.machine()}, 1 thread a process",
    }
    if label.startswith("learned"):
        said["weights_sha256"] = zoo.learned_card(dataset)["sha256"]
    elif (zoo.WEIGHTS / f"{dataset}-{label}.json").is_file():
        card = zoo.card(f"{dataset}-{label}")
        said |= {"weights_sha256": card.sha256, "tables_sha256": card.tables_sha256}
    return said


@cache
def code(module: str) -> bytes:
    """Return the source of a module as it is when first asked for, at the start of a run."""
    return (ROOT / "aelib" / f"{module}.py").read_bytes()


def key(said: dict[str, Any], codec: str, images: int) -> str:
    """Return what a finished point is kept under: another one for other code, weights, data, packages or settings."""
    modules = CODE
    if "weights_sha256" in said:
        modules += NETWORK_CODE + (LEARNED_CODE if said["series"].startswith("learned") else AUTOENCODER_CODE)
    content = [code(module) for module in modules]
    content.append(json.dumps([said, codec, images, benchmark.SCHEMA], sort_keys=True).encode())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()[:16]


def run(task: Task, count: int | None, folder: Path) -> Path | str:
    """Measure one point, unless it was before; return its file, or why it is skipped."""
    torch.set_num_threads(1)
    dataset, label, index = task
    test = load(dataset)
    images = test.images[:count]
    try:
        codec = everything(dataset)[label][index]()
    except ImportError as error:
        return f"skipped: {error}"
    said = about(dataset, label, test.source)
    file = folder / f"{dataset}-{label}-{index}-{key(said, codec.name, len(images))}.json"
    if not file.is_file():
        benchmark.write(file, [benchmark.measure(codec, images, mosaic=True)], said)
    return file


def measure_all(tasks: list[Task], count: int | None, folder: Path) -> tuple[dict[Task, Path], int]:
    """Measure all points under a progress bar; return the files of those that were, and how many failed."""
    done: dict[Task, Path] = {}
    failed, skipped = 0, set()
    with ProcessPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(tasks), unit="point", smoothing=0) as bar:
        futures = {pool.submit(run, task, count, folder): task for task in tasks}
        waiting = set(futures)
        while waiting:
            finished, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in finished:
                dataset, label, index = task = futures[future]
                try:
                    said = future.result()
                except Exception as error:  # one broken point must not lose the others
                    failed, said = failed + 1, f"failed: {error!r}"
                if isinstance(said, Path):
                    done[task] = said
                    bar.set_postfix_str(f"{dataset} {label} {index + 1}", refresh=False)
                elif (line := f"{dataset} {label}: {said}") not in skipped:
                    skipped.add(line)
                    bar.write(line)
                bar.update()
            bar.refresh()
    return done, failed


def main() -> int:
    """Measure all points that are not yet done, then publish them, a whole file a series."""
    parser = argparse.ArgumentParser(prog="python benchmarks/results.py", description=__doc__)
    parser.add_argument("--images", type=positive_int, help="only so many test images of each data set; for a trial")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "results", help="where finished points wait")
    parser.add_argument("--folder", type=Path, default=ROOT / "results", help="where the results are published")
    parser.add_argument("--series", nargs="+", help="only these, such as learned or mnist-learned; others stay")
    given = parser.parse_args()
    if given.images and given.folder == ROOT / "results":
        parser.error("--images is for a trial: give a --folder, results/ is for the full test sets")
    sources = {name: load(name).source for name in data.CLASSES}
    if given.folder == ROOT / "results" and "sample" in sources.values():
        parser.error(f"results/ is for the full test sets, got {sources}: no network? Give a --folder for a trial")
    series = {
        (name, label): len(made)
        for name in data.CLASSES
        for label, made in everything(name).items()
        if given.series is None or label in given.series or f"{name}-{label}" in given.series
    }
    if not series:
        parser.error(f"expected --series out of {[*everything('mnist'), *everything('cifar10')]}, got {given.series}")
    tasks = [(*which, index) for which, length in series.items() for index in range(length)]
    # The longest first, so that no process is left alone at the end.
    tasks.sort(key=lambda task: (SLOW.index(task[1]) if task[1] in SLOW else len(SLOW), task))
    for module in CODE + NETWORK_CODE + LEARNED_CODE + AUTOENCODER_CODE:
        code(module)  # before the processes start, which inherit it
    done, failed = measure_all(tasks, given.images, given.runs)
    if failed:
        print(f"{failed} points failed; the others are kept, run the command again.", file=sys.stderr)
        return 1
    given.folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for (dataset, label), length in series.items():
        files = [done[dataset, label, index] for index in range(length) if (dataset, label, index) in done]
        if files:
            points = [benchmark.read(file)[0][0] for file in files]
            said = {name: value for name, value in benchmark.read(files[0])[1].items() if name != "schema"}
            benchmark.write(given.folder / f"{dataset}-{label}.json", points, said)
            written.add(f"{dataset}-{label}.json")
    for dataset in data.CLASSES:
        for file in given.folder.glob(f"{dataset}-*.json"):
            if file.name not in written and not given.series:  # of another run, with other models or libraries
                file.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
