"""The learned codec, trained on 32x32 pixels, on photographs beside JPEG and AVIF, for ``results/photographs.json``.

The pictures are the photographs that scikit-image and scikit-learn ship in their packages. Whole files count, with
all they hold. China, flower, rocket and the deep field were JPEG files before, which favours codecs of 8x8 blocks.
JPEG may choose 4:4:4 or 4:2:0 and its tables, AVIF runs at 4:4:4 and speed 6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import record
import skimage.data
import sklearn.datasets
import torch
from torch import Tensor

from aelib import benchmark, codecs, curves, quantise, zoo
from aelib.codecs import Codec

RESULTS = Path(__file__).parent.parent / "results" / "photographs.json"
NAMES = ("astronaut", "cat", "coffee", "hubble_deep_field", "rocket", "stereo_motorcycle")
LOW, HIGH = 24.0, 40.0  # dB, for BD-rates


def photographs() -> dict[str, Tensor]:
    """Return the pictures, uint8, (3, H, W), by name."""
    arrays: dict[str, Any] = {name: getattr(skimage.data, name)() for name in NAMES}
    arrays["stereo_motorcycle"] = arrays["stereo_motorcycle"][0]
    arrays |= {name: sklearn.datasets.load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    return {name: torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous() for name, array in arrays.items()}


def series() -> dict[str, list[Codec]]:
    """Return each codec at its settings."""
    every = [
        (quality, mode, flat) for mode in ("4:4:4", "4:2:0") for flat in (False, True) for quality in range(5, 96, 10)
    ]
    return {
        "learned codec": [zoo.load_learned("cifar10", quality) for quality in quantise.QUALITIES],
        "learned codec, slow": [zoo.load_learned("cifar10", quality, effort="slow") for quality in quantise.QUALITIES],
        "JPEG": [codecs.Jpeg(quality, mode, flat=flat) for quality, mode, flat in every],
        "AVIF": [codecs.Avif(quality) for quality in range(5, 96, 10)],
    }


def measure(picture: Tensor, codec: Codec) -> tuple[float, float]:
    """Return bit per pixel of the whole file, and PSNR in dB."""
    point = benchmark.measure(codec, picture[None])
    if point.psnr is None:
        raise AssertionError(f"{codec.name} lost nothing: not a setting for this comparison")
    return point.rate_file.mean, point.psnr.mean


def ahead(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both, by rising rate: one picture has one setting, not a mixture."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def row(name: str, picture: Tensor) -> dict[str, Any]:
    """Return the curves of one picture, and the learned codec's BD-rates."""
    found = {codec: ahead([measure(picture, one) for one in settings]) for codec, settings in series().items()}
    rates = {}
    for own in ("learned codec", "learned codec, slow"):
        for anchor in ("JPEG", "AVIF"):
            delta = curves.bjontegaard_delta(found[anchor], found[own], low=LOW, high=HIGH)
            rates[f"{own} against {anchor}"] = {"percent": delta.rate, "low_db": delta.low, "high_db": delta.high}
    return {"picture": name, "height": picture.shape[1], "width": picture.shape[2], "curves": found, "bd_rate": rates}


def main() -> None:
    """Measure, print and write."""
    rows = []
    for name, picture in photographs().items():
        rows.append(row(name, picture))
        said = [f"{key} {delta['percent']:+.0f} %" for key, delta in rows[-1]["bd_rate"].items()]
        print(f"{name}, {picture.shape[2]}x{picture.shape[1]}: {', '.join(said)}", flush=True)
    content = {
        "weights_sha256": zoo.learned_card("cifar10")["sha256"],
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "torch", "pillow", "scikit-image", "scikit-learn"), content)


if __name__ == "__main__":
    main()
