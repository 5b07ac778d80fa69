"""Quality by bottleneck size, for ``results/ladder.json``: ``python benchmarks/ladder.py``.

Most is gathered from the weight cards. Only what the prefixes of the ordered models reach is measured here, on the full
test sets. The spread between seeds is that of the cards that ``python -m aelib.pretrain NAME --seed S --folder
runs/seed-S --runs runs/seed-S`` wrote.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from aelib import data, files, metrics, models, residual, zoo

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "ladder.json"
PUBLISHED = {
    "name": "UvA deep learning tutorial 9",
    "source": "P. Lippe, UvA Deep Learning Tutorials, tutorial 9: Deep Autoencoders; 500 epochs on a GPU",
    "mean_psnr": {"64": 22.2, "128": 24.7, "256": 27.7, "384": 29.8},
}


def cards(dataset: str) -> dict[str, dict[str, float]]:
    """Return mean PSNR in dB by K, of PCA and of each architecture that has a model for each K."""
    found: dict[str, dict[str, float]] = {"pca": {}}
    for name in zoo.names(dataset):
        card = zoo.card(name)
        found["pca"][str(card.latent_dim)] = card.pca_mean_psnr
        if card.architecture != "ordered":
            found.setdefault(card.architecture, {})[str(card.latent_dim)] = card.test["mean_psnr"]
    return {name: dict(sorted(row.items(), key=lambda item: int(item[0]))) for name, row in found.items()}


def prefixes(name: str, sizes: list[int]) -> dict[str, float]:
    """Return mean PSNR in dB of an ordered model from the first K latents alone, by K."""
    model, test = zoo.load(name), data.load(name.split("-")[0], "test")
    if test.source == "sample":
        raise ConnectionError("expected the full test sets, got the bundled sample")
    latents = models.codes(model, test.images)
    return {
        str(size): round(
            float(metrics.psnr(test.images, models.pictures(model, residual.prefix(latents, size))).mean()), 4
        )
        for size in sizes
    }


def seeds() -> dict[str, Any]:
    """Return mean PSNR in dB of the models that were trained with other seeds too, with its standard deviation."""
    found: dict[str, list[float]] = {}
    for folder in sorted((ROOT / "runs").glob("seed-*")):
        for name in zoo.names(folder=folder):
            found.setdefault(name, []).append(zoo.card(name, folder=folder).test["mean_psnr"])
    rows = {name: [zoo.card(name).test["mean_psnr"], *values] for name, values in found.items()}
    return {name: {"mean_psnr": row, "deviation": float(np.std(row, ddof=1))} for name, row in rows.items()}


def main() -> None:
    """Gather, measure, print and write."""
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    content: dict[str, Any] = {"schema": 1, "versions": {name: version(name) for name in ("aelib", "torch", "numpy")}}
    for dataset in data.CLASSES:
        rows = cards(dataset)
        for name in zoo.names(dataset, "ordered"):
            sizes = [size for size in map(int, rows["pca"]) if size <= zoo.card(name).latent_dim]
            rows["ordered"] = prefixes(name, sizes)
        content[dataset] = rows
        for label, row in rows.items():
            print(f"{dataset:8} {label:9}", "  ".join(f"{size}: {value:.2f}" for size, value in row.items()))
    content["published"] = PUBLISHED
    content["seeds"] = seeds() or before.get("seeds", {})
    print(content["seeds"])
    files.write_whole(RESULTS, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
