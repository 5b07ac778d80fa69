"""Images a second of the learned codec beside Pillow's JPEG, WebP and AVIF, for ``results/throughput.json``.

CIFAR-10 test images in batches of 256 on all cores, codecs in turns, medians over rounds. Pillow codes one image after
the other, at the setting whose rate, by payload and one byte, is nearest to the learned codec's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import record
from torch import Tensor

from aelib import codecs, data, zoo
from aelib.codecs import Codec

RESULTS = Path(__file__).parent.parent / "results" / "throughput.json"
BATCH, ROUNDS = 256, 5
QUALITY = 4.0
LONG = "learned codec, best"  # is timed once


def mean_bytes(codec: Codec, images: Tensor) -> float:
    """Return the mean of what is paid for an image."""
    return sum(map(len, codecs.paid(codec, codec.encode(images), "shared"))) / len(images)


def nearest(candidates: list[Codec], images: Tensor, goal: float) -> Codec:
    """Return the codec whose mean bytes are nearest to `goal`."""
    return min(candidates, key=lambda codec: abs(mean_bytes(codec, images) - goal))


def seconds(codec: Codec, images: Tensor) -> tuple[float, float]:
    """Return the seconds that encoding and decoding take."""
    start = time.perf_counter()
    streams = codec.encode(images)
    middle = time.perf_counter()
    codec.decode(streams)
    return middle - start, time.perf_counter() - middle


def formats(images: Tensor, goal: float) -> dict[str, Codec]:
    """Return Pillow's JPEG, WebP and AVIF at the settings whose mean bytes are nearest to `goal`."""
    return {
        "JPEG": nearest([codecs.Jpeg(quality) for quality in range(1, 96, 2)], images, goal),
        "WebP": nearest([codecs.WebP(quality) for quality in range(1, 96, 4)], images, goal),
        "AVIF": nearest([codecs.Avif(quality) for quality in range(1, 96, 4)], images, goal),
    }


def measure(made: dict[str, Codec], images: Tensor, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Return mean bytes and images a second of codecs that take turns, medians over the rounds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    for round_ in range(rounds + 1):
        for name, codec in made.items():
            found = seconds(codec, images) if round_ <= 1 or name != LONG else None
            if found and round_:  # the first is to warm up
                taken[name].append(found)
    rows: list[dict[str, Any]] = []
    for name, codec in made.items():
        encoding, decoding = (median(column) for column in zip(*taken[name], strict=True))
        row = {"codec": name, "setting": codec.name, "rounds": len(taken[name]), "bytes": mean_bytes(codec, images)}
        row["encode_images_per_second"] = len(images) / encoding
        row["decode_images_per_second"] = len(images) / decoding
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print and write."""
    images = data.load("cifar10", "test").images[:BATCH]
    own = zoo.load_learned("cifar10", QUALITY)
    others = formats(images, mean_bytes(own, images))
    efforts = {f"learned codec, {e}": zoo.load_learned("cifar10", QUALITY, effort=e) for e in codecs.EFFORTS[1:]}
    rows = measure({"learned codec": own, **efforts, **others}, images)
    for row in rows:
        print(json.dumps(row))
    content = {
        "batch": BATCH,
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "torch", "numpy", "pillow"), content)


if __name__ == "__main__":
    main()
