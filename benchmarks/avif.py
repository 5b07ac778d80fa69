"""What AVIF's slow speeds and its tuning change against `make results`, on a subset: ``python benchmarks/avif.py``."""

from __future__ import annotations

from pathlib import Path

import record

from aelib import benchmark, codecs, curves, data

RESULTS = Path(__file__).parent.parent / "results" / "avif.json"
SETTINGS = ((6, "psnr"), (6, "iq"), (3, "psnr"), (0, "psnr"))  # speed and tune, that of `make results` first
QUALITIES, IMAGES = (1, 15, 30, 45, 60, 75), 250


def main() -> None:
    """Print a line per speed and write all as JSON."""
    test = data.load("cifar10", "test").take(slice(IMAGES))
    measured, rows = {}, []
    for speed, tune in SETTINGS:
        points = [benchmark.measure(codecs.Avif(quality, speed, tune=tune), test.images) for quality in QUALITIES]
        measured[speed, tune] = benchmark.curve(points)
        delta = curves.bjontegaard_delta(measured[SETTINGS[0]], measured[speed, tune])
        row = {
            "speed": speed,
            "tune": tune,
            "milliseconds_per_image": 1000 * sum(point.encode_seconds for point in points) / len(points),
            "bd_rate_percent": delta.rate,
            "interval_db": [delta.low, delta.high],
            "points": measured[speed, tune],
        }
        rows.append(row)
        print({key: value for key, value in row.items() if key != "points"}, flush=True)
    content = {
        "dataset": "cifar10",
        "images": IMAGES,
        "data_sha256": data.SHA256["cifar10"]["x_test"],
        "accounting": "shared",
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "pillow"), content, where="one thread")


if __name__ == "__main__":
    main()
