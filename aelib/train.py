"""One training loop: fit, evaluate, checkpoint, resume."""

from __future__ import annotations

import copy
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from aelib import augment, capture, checkpoints, distributed, storage
from aelib import images as im
from aelib.losses import LOSSES
from aelib.models import Autoencoder
from aelib.schedule import Settings as Settings
from aelib.schedule import learning_rate as learning_rate


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


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device is worth asking for bfloat16: GPUs since Ampere and CPUs with AVX-512; others convert values."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def hardware(device: torch.device, crew: distributed.Crew) -> str:
    """Return what a card says of the machine that trained: GPUs by their names, else the CPU's kind and threads."""
    one = f"{platform.machine()}, {torch.get_num_threads()} thread(s), {device}"
    one = torch.cuda.get_device_name(device) if device.type == "cuda" else one
    return one if crew.alone else f"{crew.count} x {one}"


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

    Started by ``torchrun`` or ``accelerate launch``, the processes train one model together, each on `batch_size`
    images a step: as one process does with as many times that. The first one writes the checkpoint and shows progress.

    Parameters
    ----------
    model : Autoencoder
        Left on its device of training, in eval mode.
    images, validation : Tensor
        uint8, (N, C, H, W), kept as they are; batches are cut from them and turned to floats on the device. The
        training images may lie in a file (`aelib.mapped`); a GPU gets them all if they fill at most half of what is
        free there.
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
        Images of another dtype or shape than the model takes; a shift as large as they are; a checkpoint of other
        settings or images, or damaged.
    RuntimeError
        There is no such device.
    FloatingPointError
        A loss is no longer finite; the checkpoint is that of the epoch before.
    OSError
        The folder of the checkpoint cannot be written to; nothing has been trained.
    """
    expected = (model.size, model.size)
    im.check(images, channels=model.channels, size=expected)
    im.check(validation, channels=model.channels, size=expected)
    crew, settings = distributed.launched(), settings or Settings()
    if settings.shift >= model.size:
        raise ValueError(f"expected a shift below the {model.size} pixels of an image, got {settings.shift}")
    settings = replace(settings, batch_size=settings.batch_size * crew.count)
    target = crew.connect(pick_device(device))
    model.to(target).to(memory_format=torch.channels_last)  # the layout in which CPUs convolve fastest
    crew.begin_alike(model)
    fused = target.type != "mps"  # one pass over a parameter instead of six; Apple GPUs have it since PyTorch 2.5 alone
    on_gpu = target.type == "cuda"
    peak: Any = torch.tensor(settings.learning_rate, device=target) if on_gpu else settings.learning_rate
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak, fused=fused, capturable=on_gpu, weight_decay=settings.weight_decay
    )
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if settings.average:
        parts["average"] = copy.deepcopy(model)
    origin: dict[str, Any] = {"settings": asdict(settings)}
    if checkpoint:
        origin |= {"images": checkpoints.digest(images), "validation": checkpoints.digest(validation)}
    found = crew.found(checkpoint, target)
    restore = partial(checkpoints.restore, possible=partial(_possible, epochs=settings.epochs))
    history = restore(found, parts, origin, Epoch, target, defaults=asdict(Settings())) if found else []
    if checkpoint and crew.first and len(history) < settings.epochs:
        storage.check_writable(checkpoint.parent)
    for group in optimizer.param_groups:  # the checkpoint may come from another kind of device
        group |= {"lr": peak, "capturable": on_gpu}
    images = _near(images, target)
    take = _stepper(parts, settings, crew)
    for number in range(len(history) + 1, settings.epochs + 1):
        start = time.perf_counter()
        train_loss = _train_epoch(parts, take, images, settings, number, crew)
        validation_loss = evaluate(_averaged(parts), validation, loss=settings.loss)
        if not math.isfinite(train_loss + validation_loss):
            losses = f"{train_loss} in training and {validation_loss} in validation"
            raise FloatingPointError(f"expected finite losses in epoch {number}, got {losses}; lower learning_rate")
        rate, seconds = float(optimizer.param_groups[0]["lr"]), time.perf_counter() - start
        history.append(Epoch(number, train_loss, validation_loss, rate, seconds))
        if checkpoint and crew.first:
            checkpoints.save(checkpoint, parts, origin, [asdict(epoch) for epoch in history])
        if progress and crew.first:
            progress(history[-1])
    model.load_state_dict(_averaged(parts).state_dict())
    model.to(memory_format=torch.contiguous_format).eval()
    return history


def _possible(history: list[Epoch], epochs: int) -> bool:
    return [epoch.epoch for epoch in history] == list(range(1, epochs + 1))[: len(history)]


def _averaged(parts: dict[str, Any]) -> Autoencoder:
    """Return the model that is the result: the moving average of the weights if there is one."""
    found: Autoencoder = parts.get("average", parts["model"])
    return found


def _near(images: Tensor, device: torch.device) -> Tensor:
    """Return the images on the device, or as they are if they would fill more than half of a GPU's free memory."""
    if device.type == "cuda" and 2 * images.nbytes > torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)


def _stepper(parts: dict[str, Any], settings: Settings, crew: distributed.Crew) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what takes a step on this process's uint8 images and their random numbers, for its part of the loss."""
    model, optimizer = parts["model"], parts["optimizer"]
    averaging = get_ema_multi_avg_fn(settings.average)  # type: ignore[no-untyped-call]
    rough = settings.bfloat16 and computes_bfloat16(next(model.parameters()).device)

    def take(part: Tensor, draws: Tensor) -> Tensor:
        x = augment.changed(part, draws, settings).contiguous(memory_format=torch.channels_last)
        weight = crew.share(model.share[0])[1]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=rough):
            raw = model.decode_logits(model.encode(x).float())
        loss: Tensor = weight * LOSSES[settings.loss](raw.float(), x, model.squash)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = crew.add_up_gradients(loss, model)
        optimizer.step()
        if "average" in parts:
            averaging(list(parts["average"].parameters()), list(model.parameters()), None)
        return loss.detach()

    return capture.of_shape(take, settings.batch_size) if crew.alone else take


def _train_epoch(
    parts: dict[str, Any],
    take: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    settings: Settings,
    number: int,
    crew: distributed.Crew,
) -> float:
    model, optimizer = parts["model"], parts["optimizer"]
    device = next(model.parameters()).device
    model.train()
    # Whatever is random depends on seed and epoch alone, so that a resumed run needs no state of a random generator.
    seed = settings.seed * 100_003 + number
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator).to(images.device)
    draws = augment.draws(len(images), settings, generator).to(images.device)
    batches = torch.split(order, settings.batch_size)
    total = torch.zeros((), device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for index, batch in enumerate(batches):
            rate = learning_rate(settings, ((number - 1) * len(batches) + index) / (settings.epochs * len(batches)))
            for group in optimizer.param_groups:
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
            own, _ = crew.share(len(batch))
            model.share = (len(batch), own)
            loss = take(images[batch[own]].to(device), draws[batch[own]].to(device))
            total += loss * len(batch)
    model.share = None
    return float(total) / len(images)


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
