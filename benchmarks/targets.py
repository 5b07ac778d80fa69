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


def _speeds(kind: str) -> list[tuple[float, float]]:
    """Return images a second of the learned codec and of JPEG, wherever both were measured in one run."""
    found = []
    rows = {row["codec"]: row[f"{kind}_images_per_second"] for row in _stored("throughput")["rows"]}
    found.append((rows["learned codec"], rows["JPEG"]))
    for row in _stored("bench")["rows"]:
        if row["part"] == kind and row["what"].startswith("learned codec") and row["peer"].startswith("JPEG"):
            found.append((row["own"], row["theirs"]))
    return found


def all_targets() -> list[Target]:
    """Return all of them, those of CIFAR-10 with a shared header where not said otherwise."""
    goals, published = _stored("goals")["learned"], tables.read_published(FOLDER / "published.json")
    photographs = benchmark.hulls(benchmark.read_folder(FOLDER, "cifar10"), "shared") | published
    own, best = (benchmark.codec_of(series) for series in ("learned", "learned-best"))
    found = []
    for name, limit in ((own, goals["mean_psnr"]), (best, goals["mean_psnr_best"])):
        reached = curves.psnr_at(photographs[name], RATE) if name in photographs else None
        found.append(Target(f"{name}: mean PSNR at {RATE:g} bpp", limit, "dB", True, reached, 2))
    slow, minnen = benchmark.codec_of("learned-slow"), next(iter(published))
    for name, other, goal in (
        (own, "AVIF", "avif"),
        (own, "JPEG", "jpeg"),
        (slow, "JPEG", "jpeg_slow"),
        (own, minnen, "minnen"),
    ):
        delta = curves.bjontegaard_delta(photographs[other], photographs[name], low=LOW, high=HIGH)
        what = f"{name}: BD-rate against {other}, {LOW:g} to {HIGH:g} dB"
        found.append(Target(what, goals[f"bd_rate_{goal}"], "%", False, delta.rate, 1))
    avif = _stored("avif")
    slowest = min(avif["rows"], key=lambda row: row["speed"])
    what = f"BD-rate against AVIF at its slowest, {avif['images']} images"
    found.append(Target(what, goals["bd_rate_slowest_avif"], "%", False, slowest.get("learned_bd_rate_percent"), 1))
    results = benchmark.read_folder(FOLDER, "mnist")
    digits = benchmark.hulls(results, "shared")
    lossless = min(point.rate_shared.mean for point in results["lossless"])
    share = 100 * _rate_at(digits[own], QUALITY) / lossless
    what = f"MNIST: rate at {QUALITY:g} dB, of the smaller of PNG and lossless WebP"
    found.append(Target(what, goals["mnist_share"], "%", False, share))
    formats = [hull for name, hull in digits.items() if not name.startswith(("learned", "autoencoder"))]
    behind = [rate for rate, psnr in digits[own] if any((curves.psnr_at(hull, rate) or 0) >= psnr for hull in formats)]
    found.append(
        Target("MNIST: measured rates at which a format is ahead", goals["mnist_behind"], "", False, len(behind))
    )
    for kind in ("encode", "decode"):
        for own, jpeg in _speeds(kind):
            what = f"learned codec: images {kind}d a second, where JPEG {kind}s {jpeg:,.0f}"
            found.append(Target(what, goals[f"images_{kind}d"], "", True, own))
    size = sum(file.stat().st_size for file in zoo.WEIGHTS.glob("*-learned.safetensors")) / 1e6
    found.append(Target("weights of all learned codecs on disk", goals["megabytes"], "MB", False, size, 1))
    return found


def ladder_targets() -> list[Target]:
    """Return those of the residual networks, by bottleneck size."""
    goals = _stored("goals")
    sizes = {dataset: tables.read_sizes(FOLDER / "ladder.json", dataset) for dataset in ("cifar10", "mnist")}
    found = [
        Target(f"CIFAR-10, K = {size}", limit, "dB", True, sizes["cifar10"]["residual"].get(int(size)), 2)
        for size, limit in goals["ladder"].items()
    ]
    for title, rows in zip(("CIFAR-10", "MNIST"), sizes.values(), strict=True):
        lead = min(rows["residual"][size] - rows["PCA"][size] for size in rows["residual"])
        what = f"{title}, smallest lead over PCA, K = {min(rows['residual'])} to {max(rows['residual'])}"
        found.append(Target(what, goals["lead_over_pca"], "dB", True, lead, 2))
    return found


def ladder_table() -> str:
    """Return the table of the residual networks in README.md."""
    head = ["residual networks, latents as floats, mean PSNR, 10,000 test images", "target", "reached", ""]
    table = tables.markdown(head, [target.cells() for target in ladder_targets()])
    seeds = _stored("ladder")["seeds"]
    return f"{table}\n\n{spread(seeds)}" if seeds else table


def spread(seeds: dict[str, dict[str, Any]]) -> str:
    """Return the table of what networks reach that were trained with several seeds, or again with the same."""
    rows = []
    for name, row in seeds.items():
        reached = row["mean_psnr"]
        start = zoo.card(name).recipe.get("start", "own")
        rows.append(
            [
                name,
                f"{reached[0]:.3f}",
                f"{row['again']:.3f}" if "again" in row else "-",
                f"{len(reached)}",
                f"{np.mean(reached):.3f}",
                f"{row['deviation']:.3f}" if "deviation" in row else "-",
                "weights that the seed draws" if start == "own" else start,
            ]
        )
    head = ["trained again, mean PSNR in dB", "as shipped", "with the same seed", "seeds", "their mean"]
    return tables.markdown([*head, "standard deviation", "begins with"], rows)


def table() -> str:
    """Return the table of the learned codec in README.md."""
    count = benchmark.read_folder(FOLDER, "cifar10")["learned"][0].images
    head = [f"learned codec; CIFAR-10, {count:,} test images, shared header", "target", "reached", ""]
    return tables.markdown(head, [target.cells() for target in all_targets()])
