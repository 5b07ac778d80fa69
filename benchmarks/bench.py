"""Speed, memory and their growth, each beside a peer in the same run, for ``results/bench.json``: ``make bench``.

``--small`` tries out all of it on a few images and writes nothing. What is not to be had here is left out by name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import costs
import entropy
import factorized
import memory
import profiles
import psutil
import record
import throughput
import together
import torch
import training
from record import Row

from aelib import data, mapped, train, zoo
from aelib.codecs import Codec

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "bench.json"
PACKAGES = ("aelib", "torch", "torchvision", "numpy", "pillow", "scikit-image", "matplotlib")
FAST = 180  # seconds that all notebooks may take together
OWN = ("autoencoder", "learned codec")
SIMILARITY = "scikit-image, an image a call, from a few hundred of them"


def together_rows(small: bool) -> Iterator[Row]:
    """Compare two processes with one that has their threads."""
    count, threads = 256 if small else 10_000, os.cpu_count() or 2
    two = together.measure(memory.NAME, count, 2, threads // 2)
    one = together.measure(memory.NAME, count, 1, threads)
    peer = f"one process, {threads} threads"
    yield Row.of("training", f"{memory.NAME}, two processes", "images/s", two, peer, one)


def codec_rows(small: bool) -> Iterator[Row]:
    """Compare both codecs with picture formats at the nearest number of bytes, and one with a published network."""
    images = data.load("cifar10", "test").images[: 32 if small else throughput.BATCH]
    for label in OWN:
        own: Codec = zoo.load_codec("cifar10-conv-64")
        if label == "learned codec":
            own = zoo.load_learned("cifar10", throughput.QUALITY)
        made = {label: own, **throughput.formats(images, throughput.mean_bytes(own, images))}
        found = {row["codec"]: row for row in throughput.measure(made, images, 1 if small else throughput.ROUNDS)}
        peers = {name: f"{found[name]['setting']}, {found[name]['bytes']:.0f} B" for name in found if name != label}
        if label == "learned codec" and (network := factorized.measure(images)):
            found["CompressAI"] = network
            size = f"{network['parameters'] / 1e6:.1f} million parameters"
            peers["CompressAI"] = f"CompressAI {network['version']}, factorized prior, {size}"
        for kind, name in itertools.product(("encode", "decode"), peers):
            speeds = [found[which][f"{kind}_images_per_second"] for which in (label, name)]
            what = f"{label}, {found[label]['bytes']:.0f} B"
            yield Row.of(kind, what, "images/s", speeds[0], peers[name], speeds[1])


def coder_rows(small: bool) -> Iterator[Row]:
    """Compare the entropy coder with constriction on the same symbols and tables."""
    symbols, tables = entropy.coded("cifar10-conv-64", 50 if small else 1000)
    own, peer = entropy.speeds(symbols, tables), entropy.constriction_row(symbols, tables)
    for kind in ("encode", "decode"):
        for form, how in (("", "a stream an image as ours"), ("joined_", "one stream for all images")):
            speed, other = own[f"{kind}_symbols_per_second"] / 1e6, peer[f"{form}{kind}_symbols_per_second"] / 1e6
            yield Row.of(kind, "symbols alone", "M symbols/s", speed, f"constriction {peer['version']}, {how}", other)


def cost_rows(small: bool) -> Iterator[Row]:
    """Compare similarity, the slider and imports with what they would be without us."""
    count, own, theirs = costs.similarity(10 if small else 200)
    yield Row.of("SSIM", f"{count:,} images", "s", count / own, SIMILARITY, count / theirs)
    own, theirs = costs.moves()
    yield Row.of("slider", "a move over sizes seen before", "ms", 1e3 * own, "the figure drawn anew", 1e3 * theirs)
    seconds = costs.imports()
    yield Row.of("import", "torch, aelib", "s", seconds["aelib"], "torch", seconds["torch"])
    yield Row.of("import", "torch, all modules of aelib", "s", seconds["modules"], "torch", seconds["torch"])


def memory_rows(small: bool) -> Iterator[Row]:
    """Compare the memory of training with a plain loop's, of codecs with JPEG's, of a mapped file with one read."""
    count = 500 if small else 10_000
    own, theirs = (memory.measure(kind, count)["peak_mb"] for kind in ("fit", "loader"))
    peer = "Dataset, DataLoader, 0 workers"
    yield Row.of("memory", f"{memory.NAME}, {count:,} images", "MB", own, peer, theirs)
    count = 100 if small else 2_000
    peak = {label: memory.measure("coded", f"{label}:{count}")["peak_mb"] for label in memory.CODECS}
    for label in OWN:
        what = f"{label}, {count:,} images encoded and decoded"
        yield Row.of("memory", what, "MB", peak[label], memory.PEER, peak[memory.PEER])
    count = 20_000 if small else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.npy"
        mapped.write(file, memory.synthetic(count), count)
        found = {kind: memory.measure(kind, file) for kind in ("mapped", "copied")}
    for part, unit, key in (("memory", "MB", "peak_mb"), ("training", "s", "seconds")):
        own, theirs = (found[kind][key] for kind in ("mapped", "copied"))
        yield Row.of(part, f"an epoch of {count:,} digits, mapped", unit, own, "the same, read into memory", theirs)


def notebook_rows(small: bool) -> Iterator[Row]:
    """Compare the run times of notebooks, shortened, with their limit."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    import execute

    total = 0.0
    for file in sorted(execute.HERE.glob("[0-9][0-9]_*.ipynb"))[: 1 if small else None]:
        with contextlib.redirect_stdout(sys.stderr):
            seconds = execute.execute(file)[1]
        total += seconds
        yield Row.of("notebook, shortened", file.stem, "s", seconds, "limit of all", FAST)
    yield Row.of("notebooks, shortened", "all", "s", total, "limit of all", FAST)


SECTIONS = (training.rows, together_rows, codec_rows, coder_rows, cost_rows, memory_rows, notebook_rows)


def missing() -> dict[str, str]:
    """Return what cannot be measured here, and why."""
    found = {}
    if not importlib.util.find_spec("constriction"):
        found["coder_rows"] = "constriction is not installed: pip install constriction"
    if not train.computes_bfloat16(train.pick_device()):
        found["bfloat16"] = "this machine does not compute in bfloat16"
    if torch.cuda.device_count() == 1:
        found["together_rows"] = "two processes want two GPUs or none"
    if not memory.STATUS.exists():
        found["memory_rows"] = "peak memory is read from /proc, which this system lacks"
    if not factorized.PYTHON.exists():
        found["CompressAI"] = "CompressAI is not installed: make compressai"
    return found


@contextlib.contextmanager
def _kept_going(what: str, left_out: dict[str, str]) -> Iterator[None]:
    """Note what broke off, so that it does not lose the rest."""
    try:
        yield
    except Exception as error:
        left_out[what] = f"{what} broke off: {type(error).__name__}"
        traceback.print_exc()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="on a few images, without writing")
    small = parser.parse_args().small
    start, load, rows, left_out = time.perf_counter(), [psutil.getloadavg()[0]], [], missing()
    for section in SECTIONS:
        if section.__name__ in left_out:
            continue
        shortened = {"AELIB_FAST": "1", "AELIB_SOURCE": "sample"} if section is notebook_rows else {}
        os.environ.update(shortened)
        with _kept_going(section.__name__, left_out):
            for row in section(small):
                rows.append(asdict(row))
                print(row, flush=True)
        for name in shortened:
            del os.environ[name]
    slopes: list[dict[str, Any]] = []
    with _kept_going("slopes", left_out):
        for one in costs.growth(counts=(8, 16)) if small else costs.growth():
            slopes.append(one)
            print(f"{one['work']}: grows as {one['size']} to the power of {one['slope']}", flush=True)
    largest: dict[str, list[dict[str, Any]]] = {}
    with _kept_going("largest costs", left_out):
        largest = profiles.measure(64 if small else 1000)
        for work, found in largest.items():
            print(f"{work}:", ", ".join(f"{cost['name']} {cost['percent']} %" for cost in found))
    print(*left_out.values(), sep="\n")
    load.append(psutil.getloadavg()[0])
    content = {
        "source": data.load("cifar10", "test").source,
        "epoch_images": len(data.load("cifar10", "train").split()[0]),
        "load": load,
        "seconds": round(time.perf_counter() - start, 1),
        "rows": rows,
        "left_out": list(left_out.values()),
        "slopes": slopes,
        "largest_costs": largest,
    }
    if not small:
        record.write(RESULTS, PACKAGES, content, where=str(train.pick_device()))


if __name__ == "__main__":
    main()
