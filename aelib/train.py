"""One training loop: fit, evaluate, checkpoint, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aelib import checkpoints
from aelib import images as im
from aelib.losses import LOSSES
from aelib.models import Autoencoder

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
        Adam's peak learning rate, reached after `warmup` of all steps.
    warmup : float
        Share of all steps, in [0, 1), in which the learning rate rises linearly.
    loss : {"mse", "bce", "psnr"}
        Mean squared error of the pictures, or binary cross-entropy with logits, both means over all values; or the
        negative mean over the images of their PSNR in dB.
    seed : int
        Fixes the order of the images, their flips and the random numbers of the model.
    schedule : {"cosine", "constant"}
        Whether the learning rate falls along half a cosine down to zero, or stays.
    average : float
        Decay of an exponential moving average of the weights, in [0, 1), which is what validation sees and the trained
        model gets; 0 for none.
    flips : bool
        Mirror every other image, another choice in every epoch.
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
        if not 0 <= self.average < 1:
            raise ValueError(f"expected 0 <= average < 1, got {self.average!r}")


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images gave; losses are per value, in the units of `Settings.loss`."""

    epoch: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        """Return one line for a log."""
        losses = f"train {self.train_loss:.6f}  validation {self.validation_loss:.6f}"
        return f"epoch {self.epoch:3d}  {losses}  lr {self.learning_rate:.2e}  {self.seconds:5.1f} s"


def pick_device(name: str | None = None) -> torch.device:
    """Return the device `name`, or by default the best there is: CUDA, then MPS, then the CPU."""
    if name is not None:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fit(
    model: Autoencoder,
    images: Tensor,
    validation: Tensor,
    settings: Settings | None = None,
    *,
    device: str | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train `model` in place and return one record per epoch.

    Parameters
    ----------
    model : Autoencoder
        Left on its device of training, in eval mode.
    images, validation : Tensor
        uint8, (N, C, H, W), kept as they are; batches are cut from them and turned to floats on the device.
    settings : Settings, optional
        The defaults of `Settings` where left out.
    device : str, optional
        As in `pick_device`.
    checkpoint : Path, optional
        Written after every epoch. If it exists, training goes on from there, and on the CPU ends with the same
        bits as a run without a break.
    progress : callable, optional
        Called with each epoch's record, after the checkpoint is written.

    Returns
    -------
    list of Epoch
        Of all epochs, those before a resumption included.

    Raises
    ------
    TypeError, ValueError
        Images of another dtype or shape than the model takes; a checkpoint of other settings or images, or damaged.
    RuntimeError
        There is no such device.
    FloatingPointError
        A loss is no longer finite; the checkpoint is that of the epoch before.
    """
    settings = settings or Settings()
    expected = (model.size, model.size)
    im.check(images, channels=model.channels, size=expected)
    im.check(validation, channels=model.channels, size=expected)
    target = pick_device(device)
    model.to(target).to(memory_format=torch.channels_last)  # the layout in which CPUs convolve fastest
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if settings.average:
        averaging = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
        parts["average"] = AveragedModel(model, multi_avg_fn=averaging)
    origin = {
        "settings": asdict(settings),
        "images": checkpoints.digest(images),
        "validation": checkpoints.digest(validation),
    }
    found = checkpoint if checkpoint and checkpoint.exists() else None
    history = checkpoints.restore(found, parts, origin, Epoch, target) if found else []
    images = images.to(target)
    for number in range(len(history) + 1, settings.epochs + 1):
        start = time.perf_counter()
        train_loss = _train_epoch(parts, images, settings, number)
        validation_loss = evaluate(_averaged(parts), validation, loss=settings.loss)
        if not math.isfinite(train_loss + validation_loss):
            losses = f"{train_loss} in training and {validation_loss} in validation"
            raise FloatingPointError(f"expected finite losses in epoch {number}, got {losses}; lower learning_rate")
        rate, seconds = optimizer.param_groups[0]["lr"], time.perf_counter() - start
        history.append(Epoch(number, train_loss, validation_loss, rate, seconds))
        if checkpoint:
            checkpoints.save(checkpoint, parts, origin, [asdict(epoch) for epoch in history])
        if progress:
            progress(history[-1])
    model.load_state_dict(_averaged(parts).state_dict())
    model.to(memory_format=torch.contiguous_format).eval()
    return history


def _averaged(parts: dict[str, Any]) -> Autoencoder:
    """Return the model that is the result: the moving average of the weights if there is one."""
    found: Autoencoder = parts["average"].module if "average" in parts else parts["model"]
    return found


def _train_epoch(parts: dict[str, Any], images: Tensor, settings: Settings, number: int) -> float:
    model, optimizer = parts["model"], parts["optimizer"]
    model.train()
    # Whatever is random depends on seed and epoch alone, so that a resumed run needs no state of a random generator.
    seed = settings.seed * 100_003 + number
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator).to(images.device)
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    batches = torch.split(order, settings.batch_size)
    total = torch.zeros((), device=images.device)
    with torch.random.fork_rng(devices=[images.device] if images.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for index, batch in enumerate(batches):
            rate = learning_rate(settings, ((number - 1) * len(batches) + index) / (settings.epochs * len(batches)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            x = im.to_float(images[batch]).contiguous(memory_format=torch.channels_last)
            if settings.flips:
                x = torch.where(flipped[batch][:, None, None, None], x.flip(3), x)
            loss = LOSSES[settings.loss](model.logits(x), x, model.squash)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if "average" in parts:
                parts["average"].update_parameters(model)
            total += loss.detach() * len(batch)
    return float(total) / len(images)


def learning_rate(settings: Settings, done: float) -> float:
    """Return the learning rate after the share `done`, in [0, 1], of all steps.

    >>> [round(learning_rate(Settings(learning_rate=1.0, warmup=0.5), done), 3) for done in (0.25, 0.5, 0.75, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if done < settings.warmup:
        return settings.learning_rate * done / settings.warmup
    rest = (done - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * SCHEDULES[settings.schedule](rest)


@torch.inference_mode()
def evaluate(model: Autoencoder, images: Tensor, *, loss: str = "mse", batch_size: int = 500) -> float:
    """Return the mean loss over uint8 images (N, C, H, W), each image counted alike."""
    im.check(images, channels=model.channels, size=(model.size, model.size))
    if loss not in LOSSES:
        raise ValueError(f"expected a loss out of {tuple(LOSSES)}, got {loss!r}")
    model.eval()
    device = next(model.parameters()).device
    total = 0.0
    for part in torch.split(images, batch_size):
        x = im.to_float(part.to(device))
        total += float(LOSSES[loss](model.logits(x), x, model.squash)) * len(part)
    return total / len(images)
