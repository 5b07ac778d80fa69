"""What each ingredient of the residual autoencoder bought: ``python benchmarks/ablation.py`` writes an ablation table.

Every row changes one thing, trains on the training split from the start, and is measured on the validation split;
the test set is not touched. A stopped run goes on.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import record
import torch

from aelib import data, metrics, models, pretrain, recipes, residual, train

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "ablation.json"
LATENT_DIM, EPOCHS, IMAGES = 128, 1, 15_000
# In so few steps an average as long as the recipe's would hardly have left the start.
BASE = replace(recipes.SHORT, flips=True, epochs=EPOCHS, average=0.97)
# Name, what differs in the network, what differs in the training, and whether it starts as PCA.
ROWS: list[tuple[str, dict[str, Any], dict[str, Any], bool]] = [
    ("baseline: one epoch from PCA", {}, {}, True),
    ("the same with another seed", {}, {"seed": 1}, True),
    ("random start", {}, {}, False),
    ("half the width", {"widths": (20, 40, 56)}, {}, True),
    ("no residual blocks", {"blocks": (0, 0, 0)}, {}, True),
    ("one block a stage", {"blocks": (1, 1, 1)}, {}, True),
    ("batches of 128", {}, {"batch_size": 128}, True),
    ("constant learning rate", {}, {"schedule": "constant"}, True),
    ("no average of the weights", {}, {"average": 0.0}, True),
    ("no flips", {}, {"flips": False}, True),
    ("shifts by up to two pixels", {}, {"shift": 2}, True),
    ("mean squared error as the loss", {}, {"loss": "mse"}, True),
    ("twice the epochs", {}, {"epochs": 2 * EPOCHS}, True),
]


def measure(label: str, network: dict[str, Any], training: dict[str, Any], pca: bool) -> dict[str, Any]:
    """Train one row and return its figures."""
    full = data.load("cifar10", "train")
    if full.source == "sample":
        raise ConnectionError("expected the full training set, got the bundled sample")
    images, validation = (part.images for part in full.split())
    images = images[:IMAGES]
    settings = replace(BASE, **training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = residual.ResidualAutoencoder(LATENT_DIM, **network)
    if pca:
        model.start(images[: pretrain.START_IMAGES], seed=settings.seed)
    history = train.fit(
        model,
        images,
        validation,
        settings,
        checkpoint=ROOT / "runs" / "ablation" / f"{label.replace(' ', '-')}.pt",
        progress=lambda epoch: print(f"{label}: {epoch}", flush=True),
    )
    restored = models.reconstruct(model.cpu(), validation)
    return {
        "row": label,
        "mean_psnr": round(float(metrics.psnr(validation, restored).mean()), 4),
        "pooled_psnr": round(metrics.pooled_psnr(validation, restored), 4),
        "parameters": sum(p.numel() for p in model.parameters()),
        "settings": asdict(settings),
        "seconds": round(sum(epoch.seconds for epoch in history), 1),
    }


def main() -> None:
    """Measure all rows, print and write them."""
    rows = []
    for row in ROWS:
        rows.append(measure(*row))
        print(f"{rows[-1]['row']:32} {rows[-1]['mean_psnr']:.2f} dB", flush=True)
    content = {
        "latent_dim": LATENT_DIM,
        "trained_on": IMAGES,
        "images": data.VALIDATION_SIZE,  # of the validation split of CIFAR-10
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "torch", "numpy"), content, where=str(train.pick_device()))


if __name__ == "__main__":
    main()
