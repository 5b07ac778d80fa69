"""One training loop: fit, evaluate, checkpoint, resume."""

from __future__ import annotations

import hashlib
import io
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aelib import files
from aelib import images as im
from aelib.models import Autoencoder

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda logits, target: F.mse_loss(torch.sigmoid(logits), target),
    "bce": F.binary_cross_entropy_with_logits,
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
        Adam's peak learning rate, reached after `warmup` of all steps and followed by half a cosine down to zero.
    warmup : float
        Share of all steps, in [0, 1), in which the learning rate rises linearly.
    loss : {"mse", "bce"}
        Mean squared error of the pictures, or binary cross-entropy with logits; both are means over all values.
    seed : int
        Fixes the order of the images.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: float = 0.05
    loss: str = "mse"
    seed: int = 0

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
    model.to(target)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    origin = {"settings": asdict(settings), "images": _digest(images), "validation": _digest(validation)}
    history = _restore(checkpoint, model, optimizer, origin) if checkpoint and checkpoint.exists() else []
    images = images.to(target)
    for number in range(len(history) + 1, settings.epochs + 1):
        start = time.perf_counter()
        train_loss = _train_epoch(model, images, optimizer, settings, number)
        validation_loss = evaluate(model, validation, loss=settings.loss)
        if not math.isfinite(train_loss + validation_loss):
            losses = f"{train_loss} in training and {validation_loss} in validation"
            raise FloatingPointError(f"expected finite losses in epoch {number}, got {losses}; lower learning_rate")
        rate, seconds = optimizer.param_groups[0]["lr"], time.perf_counter() - start
        history.append(Epoch(number, train_loss, validation_loss, rate, seconds))
        if checkpoint:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            _save(checkpoint, {**origin, **state, "history": [asdict(epoch) for epoch in history]})
        if progress:
            progress(history[-1])
    model.eval()
    return history


def _train_epoch(
    model: Autoencoder, images: Tensor, optimizer: torch.optim.Optimizer, settings: Settings, number: int
) -> float:
    model.train()
    # The order depends on seed and epoch alone, so that a resumed run needs no state of a random generator.
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + number)
    order = torch.randperm(len(images), generator=generator).to(images.device)
    batches = torch.split(order, settings.batch_size)
    total = torch.zeros((), device=images.device)
    for index, batch in enumerate(batches):
        rate = learning_rate(settings, ((number - 1) * len(batches) + index) / (settings.epochs * len(batches)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = im.to_float(images[batch])
        loss = LOSSES[settings.loss](model.logits(x), x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
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
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))


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
        total += float(LOSSES[loss](model.logits(x), x)) * len(part)
    return total / len(images)


def _digest(images: Tensor) -> str:
    return hashlib.sha256(images.cpu().contiguous().numpy().data).hexdigest()[:16]


def _save(file: Path, state: dict[str, Any]) -> None:
    torch.save(state, buffer := io.BytesIO())
    files.write_whole(file, buffer.getvalue())


def _restore(file: Path, model: Autoencoder, optimizer: torch.optim.Optimizer, origin: dict[str, Any]) -> list[Epoch]:
    """Load the checkpoint into model and optimizer, and return its history; refuse one of another origin."""
    device = next(model.parameters()).device
    try:
        with zipfile.ZipFile(file) as archive:  # torch.load does not look at the checksums
            if damaged := archive.testzip():
                raise ValueError(f"a wrong checksum of {damaged}")
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        stored = {key: state[key] for key in origin}
        history = [Epoch(**epoch) for epoch in state["history"]]
        if stored == origin:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
    # zipfile and torch raise many kinds of error on other files, BadZipFile and UnpicklingError among them.
    except Exception as error:
        raise ValueError(
            f"expected a checkpoint of this {type(model).__name__} by aelib.train.fit in {file}, got {error!r}; "
            "delete the file to train from the start"
        ) from error
    if stored != origin:
        differing = {key: (origin[key], stored[key]) for key in origin if stored[key] != origin[key]}
        said = "; ".join(f"{key}: expected {own}, got {other}" for key, (own, other) in differing.items())
        raise ValueError(f"expected a checkpoint of the same settings and images in {file}, but {said}")
    return history
