"""How to train: the settings of `aelib.train.fit`, and the learning rate that they give from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from aelib.losses import LOSSES

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda rest: 0.5 * (1 + math.cos(math.pi * rest)),
    "constant": lambda rest: 1.0,
}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per step.
    learning_rate : float
        AdamW's peak learning rate, reached after `warmup` of all steps.
    warmup : float
        Share of all steps, in [0, 1), in which the learning rate rises linearly.
    loss : {"mse", "bce", "psnr"}
        Mean squared error of the pictures, or binary cross-entropy with logits, both means over all values; or the
        negative mean over the images of their PSNR in dB.
    seed : int
        Fixes the order of the images, their flips and shifts and the random numbers of the model.
    schedule : {"cosine", "constant"}
        Whether the learning rate falls along half a cosine down to zero, or stays.
    average : float
        Decay of an exponential moving average of the weights, in [0, 1), which is what validation sees and the trained
        model gets; 0 for none.
    flips : bool
        Mirror every other image, another choice in every epoch.
    bfloat16 : bool
        Compute the networks in it where the device can (`aelib.train.computes_bfloat16`); loss, weights and
        validation stay in float32.
    shift : int
        Move every image by up to so many pixels down or up and right or left, another way in every epoch.
    weight_decay : float
        AdamW's: what weights lose in a step, as a share of them, is this times the learning rate.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: float = 0.05
    loss: str = "mse"
    seed: int = 0
    schedule: str = "cosine"
    average: float = 0.0
    flips: bool = False
    bfloat16: bool = False
    shift: int = 0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name, got in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if not isinstance(got, int) or got < 1:
                raise ValueError(f"expected whole {name} >= 1, got {got!r}")
        if not (self.learning_rate > 0 and 0 <= self.warmup < 1):
            raise ValueError(
                f"expected learning_rate > 0 and 0 <= warmup < 1, got {self.learning_rate} and {self.warmup}"
            )
        if self.loss not in LOSSES:
            raise ValueError(f"expected a loss out of {tuple(LOSSES)}, got {self.loss!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"expected a schedule out of {tuple(SCHEDULES)}, got {self.schedule!r}")
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or self.shift < 0:
            raise ValueError(f"expected a whole shift >= 0, got {self.shift!r}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"expected a finite weight_decay >= 0, got {self.weight_decay!r}")
        if not 0 <= self.average < 1:
            raise ValueError(f"expected 0 <= average < 1, got {self.average!r}")


def learning_rate(settings: Settings, done: float) -> float:
    """Return the learning rate after the share `done`, in [0, 1], of all steps.

    >>> [round(learning_rate(Settings(learning_rate=1.0, warmup=0.5), done), 3) for done in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if done < settings.warmup:
        return settings.learning_rate * done / settings.warmup
    rest = (done - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * SCHEDULES[settings.schedule](rest)
