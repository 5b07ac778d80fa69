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

from aelib import data, metrics, models, pretrain, recipes, residual, train, zoo

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "ablation.json"
ORDERED = "cifar10-ordered-384"
LATENT_DIM, EPOCHS, IMAGES = 128, 3, 5_000
# In so few steps an average as long as the recipe's would hardly have left the start.
BASE = replace(recipes.SHORT, flips=True, epochs=EPOCHS, average=0.97)
# Name, what differs in the network, what differs in the training, and what it starts as: at random, as PCA or
# as the shipped ordered network.
ROWS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("baseline, from PCA", {}, {}, "PCA"),
    ("the same with another seed", {}, {"seed": 1}, "PCA"),
    ("random start", {}, {}, "random"),
    ("from the ordered network, trained before", {}, {}, "ordered"),
    ("half the width", {"widths": (20, 40, 56)}, {}, "PCA"),
    ("no residual blocks", {"blocks": (0, 0, 0)}, {}, "PCA"),
    ("one block a stage", {"blocks": (1, 1, 1)}, {}, "PCA"),
    ("batches of 128", {}, {"batch_size": 128}, "PCA"),
    ("constant learning rate", {}, {"schedule": "constant"}, "PCA"),
    ("no average of the weights", {}, {"average": 0.0}, "PCA"),
    ("no flips", {}, {"flips": False}, "PCA"),
    ("shifts by up to two pixels", {}, {"shift": 2}, "PCA"),
    ("weight decay as in the long recipe", {}, {"weight_decay": recipes.LONG["weight_decay"]}, "PCA"),
    ("mean squared error as the loss", {}, {"loss": "mse"}, "PCA"),
    ("twice the epochs", {}, {"epochs": 2 * EPOCHS}, "PCA"),
]


def measure(label: str, network: dict[str, Any], training: dict[str, Any], start: str) -> dict[str, Any]:
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
    if start == "PCA":
        model.start(images[: pretrain.START_IMAGES], seed=settings.seed)
    elif start == "ordered":
        model = residual.shortened(zoo.load(ORDERED), LATENT_DIM)
    history = train.fit(
        model,
        images,
        validation,
        settings,
        checkpoint=ROOT / "runs" / "ablation" / f"{label.replace(' ', '-').replace(',', '')}.pt",
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
        "epochs": EPOCHS,
        "images": data.VALIDATION_SIZE,  # of the validation split of CIFAR-10
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "torch", "numpy"), content, where=str(train.pick_device()))


if __name__ == "__main__":
    main()
