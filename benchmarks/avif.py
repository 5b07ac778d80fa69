"""What AVIF's slow speeds save against the speed of `make results`, on a subset: ``python benchmarks/avif.py``."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from aelib import benchmark, codecs, data, files, metrics

RESULTS = Path(__file__).parent.parent / "results" / "avif.json"
SPEEDS, QUALITIES, IMAGES = (6, 3, 0), (15, 30, 45, 60, 75), 250
ANCHOR = SPEEDS[0]


def main() -> None:
    """Print a line per speed and write all as JSON."""
    test = data.load("cifar10", "test").take(slice(IMAGES))
    curves, rows = {}, []
    for speed in SPEEDS:
        points = [benchmark.measure(codecs.Avif(quality, speed), test.images) for quality in QUALITIES]
        curves[speed] = benchmark.curve(points)
        delta = metrics.bjontegaard_delta(curves[ANCHOR], curves[speed])
        row = {
            "speed": speed,
            "milliseconds_per_image": 1000 * sum(point.encode_seconds for point in points) / len(points),
            "bd_rate_percent": delta.rate,
            "interval_db": [delta.low, delta.high],
            "points": curves[speed],
        }
        rows.append(row)
        print({key: value for key, value in row.items() if key != "points"}, flush=True)
    content = {
        "schema": 1,
        "dataset": "cifar10",
        "images": IMAGES,
        "data_sha256": data.SHA256["cifar10"]["x_test"],
        "accounting": "shared",
        "versions": {name: version(name) for name in ("aelib", "pillow")},
        "hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, one thread",
        "rows": rows,
    }
    files.write_whole(RESULTS, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
