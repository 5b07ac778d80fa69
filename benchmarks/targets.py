"""What codecs and networks were to reach, beside what they reach, from the results of ``make results`` and others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aelib import benchmark, curves, tables, zoo

FOLDER = Path(__file__).parent.parent / "results"
LOW, HIGH = 22.0, 36.0  # dB, over which BD-rates are means
RATE, QUALITY = 1.0, 30.0  # bit per pixel and dB at which codecs are compared
SHARE = 0.5  # of the rate of a lossless codec that digits may take


@dataclass(frozen=True)
class Target:
    """A limit, whether it is one from below, and what was reached, None if that was not measured."""

    what: str
    limit: float
    unit: str
    at_least: bool
    reached: float | None
    digits: int = 0

    @property
    def met(self) -> bool:
        """Whether what was reached is within the limit."""
        if self.reached is None:
            return False
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    def cells(self) -> list[str]:
        """Return the cells of a table's row."""
        goal = f"at {'least' if self.at_least else 'most'} {self.limit:,g} {self.unit}".rstrip()
        if self.reached is None:
            return [self.what, goal, "not measured", "-"]
        reached = f"{self.reached:,.{self.digits}f} {self.unit}".rstrip()
        return [self.what, goal, reached, "met" if self.met else "short of it"]


def _stored(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _rate_at(points: list[tuple[float, float]], psnr: float) -> float:
    rates, values = zip(*points, strict=True)
    if not values[0] <= psnr <= values[-1]:
        raise ValueError(f"expected a curve through {psnr} dB, got {points}")
    return float(np.interp(psnr, values, rates))


def all_targets() -> list[Target]:
    """Return all of them, those of CIFAR-10 with a shared header where not said otherwise."""
    photographs = benchmark.hulls(benchmark.read_folder(FOLDER, "cifar10"), "shared") | tables.PUBLISHED
    own, best = (benchmark.codec_of(series) for series in ("learned", "learned-best"))
    found = []
    for name, limit in ((own, 30.1), (best, 30.5)):
        reached = curves.psnr_at(photographs[name], RATE) if name in photographs else None
        found.append(Target(f"{name}: mean PSNR at {RATE:g} bpp", limit, "dB", True, reached, 2))
    slow, minnen = benchmark.codec_of("learned-slow"), next(iter(tables.PUBLISHED))
    for name, other, limit in ((own, "AVIF", -30.0), (own, "JPEG", -50.0), (slow, "JPEG", -50.0), (own, minnen, 0.0)):
        delta = curves.bjontegaard_delta(photographs[other], photographs[name], low=LOW, high=HIGH)
        what = f"{name}: BD-rate against {other}, {LOW:g} to {HIGH:g} dB"
        found.append(Target(what, limit, "%", False, delta.rate, 1))
    avif = _stored("avif")
    slowest = min(avif["rows"], key=lambda row: row["speed"])
    what = f"BD-rate against AVIF at its slowest, {avif['images']} images"
    found.append(Target(what, -30.0, "%", False, slowest.get("learned_bd_rate_percent"), 1))
    results = benchmark.read_folder(FOLDER, "mnist")
    digits = benchmark.hulls(results, "shared")
    lossless = min(point.rate_shared.mean for point in results["lossless"])
    share = 100 * _rate_at(digits[own], QUALITY) / lossless
    what = f"MNIST: rate at {QUALITY:g} dB, of the smaller of PNG and lossless WebP"
    found.append(Target(what, 100 * SHARE, "%", False, share))
    formats = [hull for name, hull in digits.items() if not name.startswith(("learned", "autoencoder"))]
    behind = [rate for rate, psnr in digits[own] if any((curves.psnr_at(hull, rate) or 0) >= psnr for hull in formats)]
    found.append(Target("MNIST: measured rates at which a format is ahead", 0, "", False, len(behind)))
    speed = _stored("throughput")["rows"][0]
    for kind, limit in (("encode", 800), ("decode", 1000)):
        what = f"images {kind}d a second, {speed['setting']}"
        found.append(Target(what, limit, "", True, speed[f"{kind}_images_per_second"]))
    size = sum(file.stat().st_size for file in zoo.WEIGHTS.glob("*-learned.safetensors")) / 1e6
    found.append(Target("weights of all learned codecs on disk", 8, "MB", False, size, 1))
    return found


def ladder_targets() -> list[Target]:
    """Return those of the residual networks, by bottleneck size."""
    sizes = {dataset: tables.read_sizes(FOLDER / "ladder.json", dataset) for dataset in ("cifar10", "mnist")}
    found = [
        Target(f"CIFAR-10, K = {size}", limit, "dB", True, sizes["cifar10"]["residual"].get(size), 2)
        for size, limit in {64: 22.6, 128: 25.1, 256: 28.2, 384: 30.3}.items()
    ]
    for title, rows in zip(("CIFAR-10", "MNIST"), sizes.values(), strict=True):
        lead = min(rows["residual"][size] - rows["PCA"][size] for size in rows["residual"])
        what = f"{title}, smallest lead over PCA, K = {min(rows['residual'])} to {max(rows['residual'])}"
        found.append(Target(what, 0, "dB", True, lead, 2))
    return found


def ladder_table() -> str:
    """Return the table of the residual networks in README.md."""
    head = ["residual networks, mean PSNR, 10,000 test images", "target", "reached", ""]
    table = tables.markdown(head, [target.cells() for target in ladder_targets()])
    return "\n\n".join([table, *(spread(name, row) for name, row in _stored("ladder")["seeds"].items())])


def spread(name: str, row: dict[str, Any]) -> str:
    """Return a sentence on what a network reaches that was trained with several seeds, or again with the same."""
    said = f"{name} reaches {row['mean_psnr'][0]:.3f} dB"
    if "deviation" in row:
        said += (
            f", with {len(row['mean_psnr'])} seeds {np.mean(row['mean_psnr']):.3f} dB on average, standard deviation "
        )
        said += f"{row['deviation']:.3f} dB"
    if "again" in row:
        said += f"; trained again with its own seed {row['again']:.3f} dB"
    start = zoo.card(name).recipe.get("start")
    return f"{said}. {f'All begin with {start}; a' if start else 'A'} seed decides on what is drawn while training."


def table() -> str:
    """Return the table of the learned codec in README.md."""
    count = benchmark.read_folder(FOLDER, "cifar10")["learned"][0].images
    head = [f"learned codec; CIFAR-10, {count:,} test images, shared header", "target", "reached", ""]
    return tables.markdown(head, [target.cells() for target in all_targets()])
