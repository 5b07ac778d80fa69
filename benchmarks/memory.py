"""How much memory training and coding take, each in a fresh process; ``benchmarks/bench.py`` gathers the figures.

Linux alone says how much of a process's memory is its own, and how much is pages of files that are mapped, which the
system drops when others need the room.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import training
from torch import Tensor

from aelib import codecs, data, mapped, models, recipes, train, zoo
from aelib.codecs import Codec

STATUS = Path("/proc/self/status")
NAME = "cifar10-conv-64"
SECONDS = 0.02  # from one look at the memory to the next
CHUNK = 10_000
PEER = "JPEG"
CODECS: dict[str, Callable[[], Codec]] = {
    "autoencoder": lambda: zoo.load_codec(NAME),
    "learned codec": lambda: zoo.load_learned("cifar10", 4),
    PEER: lambda: codecs.Jpeg(5),
}


def resident_mb(kind: str) -> float:
    """Return the resident memory in MB: of this process itself ("Anon"), or of files that it has mapped ("File")."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"Rss{kind}:"))
    return int(line.split()[1]) * 1024 / 1e6


def watched(work: Callable[[], Any]) -> dict[str, float]:
    """Return how long work takes and the most memory that this process had of its own meanwhile."""
    done, most = threading.Event(), [resident_mb("Anon")]

    def look() -> None:
        while not done.wait(SECONDS):
            most[0] = max(most[0], resident_mb("Anon"))

    watcher, start = threading.Thread(target=look), time.perf_counter()
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return {"seconds": time.perf_counter() - start, "peak_mb": most[0]}


def synthetic(count: int) -> Iterator[Tensor]:
    """Return batches of synthetic digits, (n, 1, 28, 28): those of the sample, moved and laid over each other."""
    digits, generator = data.load("mnist", "train", source="sample").images, torch.Generator().manual_seed(0)
    for start in range(0, count, CHUNK):
        first, second = torch.randint(len(digits), (2, min(CHUNK, count - start)), generator=generator)
        yield torch.maximum(digits[first], digits[second].roll((start // CHUNK) % 28, dims=3))


def fit_digits(images: Tensor) -> None:
    """Train a small network for an epoch."""
    model = models.build("dense", 2, channels=1, size=28)
    train.fit(model, images, images[:CHUNK], train.Settings(epochs=1, batch_size=512), device="cpu")


def photographs(count: int) -> tuple[Tensor, train.Settings]:
    """Return training images, and how `fit` and the loader's loop go over them once."""
    settings = replace(recipes.recipe(NAME), epochs=1)
    return data.load("cifar10", "train").images[:count], settings


def work(kind: str, argument: str) -> Callable[[], Any]:
    """Return what is to be watched; the photographs are there before it starts."""
    if kind == "mapped":
        return lambda: fit_digits(mapped.read(Path(argument)))
    if kind == "copied":
        return lambda: fit_digits(mapped.read(Path(argument)).clone())
    if kind == "coded":
        label, _, count = argument.partition(":")
        codec, images = CODECS[label](), data.load("cifar10", "test").images[: int(count)]
        return lambda: codec.decode(codec.encode(images))
    images, settings = photographs(int(argument))
    if kind == "fit":
        return lambda: training.own(NAME, images, settings)
    return lambda: training.plain(NAME, images, settings, workers=0)


def measure(kind: str, argument: object) -> dict[str, float]:
    """Return what a fresh process says.

    Of "fit" or "loader" and a number of images, of "coded" and a codec with its number, or of "mapped" or "copied" and
    a file.
    """
    command = [sys.executable, __file__, kind, str(argument)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps(watched(work(*sys.argv[1:]))))
