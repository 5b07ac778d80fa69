"""Quality by bottleneck size, for ``results/ladder.json``: ``python benchmarks/ladder.py``.

Most is gathered from the weight cards. What refined latents reach is measured here, on the full test sets. The spread
between seeds is that of the cards that ``python -m aelib.pretrain NAME --seed S --folder runs/seed-S --runs
runs/seed-S`` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import record

from aelib import data, metrics, models, zoo

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "ladder.json"
PUBLISHED: dict[str, Any] = json.loads((ROOT / "results" / "published.json").read_text(encoding="utf-8"))["ladder"]
REFINED_FROM = 64  # latents; minutes a model on two cores
METHODS = ("PCA", "dense", "conv", "residual")


def cards(dataset: str) -> dict[str, dict[str, float]]:
    """Return mean PSNR in dB by K, of PCA and of each architecture that has a model for each K."""
    found: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for card in sorted(map(zoo.card, zoo.names(dataset)), key=lambda card: card.latent_dim):
        found["PCA"][str(card.latent_dim)] = card.pca_mean_psnr
        if card.architecture in METHODS:
            found[card.architecture][str(card.latent_dim)] = card.test["mean_psnr"]
    return {method: row for method, row in found.items() if row}


def prefixes(dataset: str) -> dict[str, float]:
    """Return mean PSNR in dB of the ordered network by the number of latents that are kept."""
    (whole,) = map(zoo.card, zoo.names(dataset, "ordered"))
    kept = {length: prefix.mean_psnr for length, prefix in whole.prefixes.items()}
    return kept | {str(whole.latent_dim): whole.test["mean_psnr"]}


def refined(name: str) -> float:
    """Return mean PSNR in dB of a model from refined latents."""
    model, test = zoo.load(name), data.load(name.split("-")[0], "test")
    restored = models.pictures(model, models.refined(model, test.images))
    return round(float(metrics.psnr(test.images, restored).mean()), 4)


def but_seed(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of a card without what another seed changes."""
    kept = {key: value for key, value in recipe.items() if key not in ("seed", "command")}
    return {key: but_seed(value) if isinstance(value, dict) else value for key, value in kept.items()}


def seeds(runs: Path) -> dict[str, Any]:
    """Return what the models reach that were trained again: with other seeds, and with the shipped one's.

    By name: ``mean_psnr``, in dB, the shipped model's first, with its standard deviation over the seeds, ``deviation``;
    and where the shipped model's own seed was trained again, ``again``, in dB.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in sorted(runs.glob("seed-*")):
        for name in zoo.names(folder=folder):
            card, shipped = zoo.card(name, folder=folder), zoo.card(name)
            trained = but_seed(card.recipe)
            if any(trained.get(key) != value for key, value in but_seed(shipped.recipe).items()):
                raise ValueError(f"expected {name} in {folder} to be of the shipped recipe, got {card.recipe}")
            row = found.setdefault(name, {"mean_psnr": [shipped.test["mean_psnr"]]})
            if card.recipe["seed"] == shipped.recipe["seed"]:
                row["again"] = card.test["mean_psnr"]
            else:
                row["mean_psnr"].append(card.test["mean_psnr"])
    for row in found.values():
        if len(row["mean_psnr"]) > 1:
            row["deviation"] = float(np.std(row["mean_psnr"], ddof=1))
    return found


def together(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return what other seeds reach, from before and now; what is of other weights than the shipped ones is dropped."""
    kept = {name: row for name, row in before.items() if row["mean_psnr"][0] == zoo.card(name).test["mean_psnr"]}
    more = {name: row for name, row in found.items() if len(row["mean_psnr"]) >= len(kept.get(name, row)["mean_psnr"])}
    again = {name: {"again": row["again"]} for name, row in found.items() if name in kept and "again" in row}
    return {name: row | again.get(name, {}) for name, row in (kept | more).items()}


def main() -> None:
    """Gather, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python benchmarks/ladder.py", description=__doc__)
    parser.add_argument("--refine", action="store_true", help="refine latents where that is not done (minutes each)")
    given = parser.parse_args()
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    hashes = {name: zoo.card(name).sha256 for name in zoo.names()}  # other weights are refined anew
    closer = {name: row for name, row in before.get("refined", {}).items() if row["sha256"] == hashes.get(name)}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for dataset in data.CLASSES:
        found[dataset] = rows = cards(dataset)
        strong = [card for card in map(zoo.card, zoo.names(dataset, "residual")) if card.latent_dim >= REFINED_FROM]
        for card in sorted(strong, key=lambda card: card.latent_dim):
            if given.refine and card.name not in closer:
                closer[card.name] = {"sha256": card.sha256, "mean_psnr": refined(card.name)}
            if card.name in closer:
                row = rows.setdefault("residual, refined", {})
                row[str(card.latent_dim)] = closer[card.name]["mean_psnr"]
        rows["ordered"] = prefixes(dataset)
        if dataset == "cifar10":
            rows[PUBLISHED["name"]] = PUBLISHED["mean_psnr"]
        for label, row in rows.items():
            print(f"{dataset:8} {label:15}", "  ".join(f"{size}: {value:.2f}" for size, value in row.items()))
    content = {
        "images": 10_000,
        "mean_psnr": found,
        "published": PUBLISHED["source"],
        "refined": closer,
        "seeds": together(before.get("seeds", {}), seeds(ROOT / "runs")),
    }
    print(content["seeds"])
    record.write(RESULTS, ("aelib", "torch", "numpy"), content)


if __name__ == "__main__":
    main()
