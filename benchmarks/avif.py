"""What AVIF's slow speeds and its tuning change against `make results`, on a subset: ``python benchmarks/avif.py``.

And what the learned codec's BD-rate over 22 to 36 dB is against each of them, on the same images.
"""

from __future__ import annotations

from pathlib import Path

import record
import targets

from aelib import benchmark, codecs, curves, data, prior, zoo

RESULTS = Path(__file__).parent.parent / "results" / "avif.json"
SETTINGS = ((6, "psnr"), (6, "iq"), (3, "psnr"), (0, "psnr"))  # speed and tune, that of `make results` first
QUALITIES, IMAGES = (1, 15, 30, 45, 60, 75), 250


def main() -> None:
    """Print a line per speed and write all as JSON."""
    test = data.load("cifar10", "test").take(slice(IMAGES))
    own = [zoo.load_learned("cifar10", float(quality)) for quality in range(prior.LEVELS)]
    learned = benchmark.curve([benchmark.measure(codec, test.images) for codec in own])
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
            "learned_bd_rate_percent": curves.bjontegaard_delta(
                measured[speed, tune], learned, low=targets.LOW, high=targets.HIGH
            ).rate,
            "points": measured[speed, tune],
        }
        rows.append(row)
        print({key: value for key, value in row.items() if key != "points"}, flush=True)
    content = {
        "dataset": "cifar10",
        "images": IMAGES,
        "data_sha256": data.SHA256["cifar10"]["x_test"],
        "accounting": "shared",
        "learned": learned,
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "pillow"), content, where="one thread")


if __name__ == "__main__":
    main()
