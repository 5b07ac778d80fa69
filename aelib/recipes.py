"""Which networks are shipped, in which sizes, and how each is trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aelib import train

SIZES = {
    "mnist-conv": (2, 4, 8, 16, 32, 64),
    "mnist-dense": (4, 16, 64),
    "mnist-ordered": (64,),
    "mnist-residual": (2, 4, 8, 16, 32, 64),
    "cifar10-conv": (2, 4, 8, 16, 32, 64, 128, 256),
    "cifar10-dense": (16, 64, 256),
    "cifar10-ordered": (384,),
    "cifar10-residual": (2, 4, 8, 16, 32, 64, 128, 256, 384),
}
# Families that can be trained by name and are not shipped yet.
TRIALS: dict[str, tuple[int, ...]] = {}
FAMILIES = {**SIZES, **TRIALS}
# Batch size and learning rate: the best on the validation split of a few, for conv and dense after 4 epochs at
# cifar10-*-64, for the residual networks after 1560 steps of 32 images at K = 256.
SHORT = train.Settings(epochs=2, batch_size=32, learning_rate=1e-3, loss="psnr", average=0.998)
RECIPES = {
    "conv": train.Settings(epochs=25, batch_size=64, learning_rate=4e-3),
    "dense": train.Settings(epochs=30, batch_size=64, learning_rate=2e-3),
    "ordered": SHORT,
    "residual": SHORT,
}
# For a GPU, or CPU cores that compute in bfloat16. Rate, shift and decay were chosen on the validation split at K = 64.
LONG = {
    "epochs": 30,
    "batch_size": 256,
    "learning_rate": 1.5e-3,
    "average": 0.999,
    "bfloat16": True,
    "shift": 2,
    "weight_decay": 0.03,
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "mnist-ordered-64": {"epochs": 6},
    **{f"mnist-residual-{size}": {"epochs": 6} for size in SIZES["mnist-residual"]},
    "cifar10-ordered-384": {**LONG, "epochs": 40, "learning_rate": 2e-3},
    "cifar10-residual-64": {"epochs": 14},
    "cifar10-residual-128": LONG,
    "cifar10-residual-256": LONG,
    "cifar10-residual-384": {"epochs": 5},
}
# Second trainings, which go on from where the first ended: smaller batches, and so more steps in an epoch. The learning
# rate is half of SHORT's, and was compared with no other; 40 minutes leave room for no more epochs, at 128 for one.
THEN: dict[str, dict[str, Any]] = {
    "cifar10-residual-128": {"epochs": 4, "learning_rate": 5e-4},
    "cifar10-residual-256": {"epochs": 5, "learning_rate": 5e-4},
}


def all_names() -> list[str]:
    """Return the names of all weights that are shipped.

    >>> len(all_names())
    37
    """
    return [f"{family}-{size}" for family, sizes in SIZES.items() for size in sizes]


def recipe(name: str) -> train.Settings:
    """Return how weights are trained; photographs are mirrored, digits would no longer be digits.

    >>> recipe("cifar10-residual-64").epochs, recipe("cifar10-residual-64").flips, recipe("mnist-residual-8").flips
    (14, True, False)
    """
    dataset, architecture, _ = parse(name)
    flips = dataset == "cifar10" and architecture in ("ordered", "residual")
    return replace(RECIPES[architecture], flips=flips, **OTHERWISE.get(name, {}))


def then(name: str) -> train.Settings | None:
    """Return how a network is trained a second time, if it is.

    >>> then("cifar10-residual-256").batch_size, then("cifar10-residual-64")
    (32, None)
    """
    return replace(RECIPES[parse(name)[1]], flips=recipe(name).flips, **THEN[name]) if name in THEN else None


def parent(name: str) -> str | None:
    """Return the name of the weights that a training begins with: for residual networks, the ordered one's.

    >>> parent("cifar10-residual-64"), parent("cifar10-conv-64")
    ('cifar10-ordered-384', None)
    """
    dataset, architecture, _ = parse(name)
    return f"{dataset}-ordered-{FAMILIES[f'{dataset}-ordered'][-1]}" if architecture == "residual" else None


def parse(name: str) -> tuple[str, str, int]:
    """Return data set, architecture and K of a name.

    Raises
    ------
    ValueError
        It is not ``DATASET-ARCHITECTURE-K`` of a family that is known.
    """
    parts = name.split("-")
    if len(parts) != 3 or f"{parts[0]}-{parts[1]}" not in FAMILIES or not parts[2].isdecimal() or int(parts[2]) < 1:
        raise ValueError(f"expected DATASET-ARCHITECTURE-K with the first two out of {tuple(FAMILIES)}, got {name!r}")
    return parts[0], parts[1], int(parts[2])
