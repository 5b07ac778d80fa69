"""The training loop of the learned codec: all rates at once, checkpoints, exact resumption."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from aelib import capture, checkpoints, distributed, learned, metrics, prior, schedule, search, storage, train
from aelib import images as im

QUALITIES = (0.0, 2.0, 4.0, 7.0)  # that are looked at while training
_PROBES = 2000


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes
    ----------
    steps, batch_size : int
        Number of steps, and images in each, drawn with replacement; their qualities are spread evenly over 0 to 7.
    learning_rate : float
        Adam's peak, reached after `warmup` of all steps, then falling along half a cosine to 0.
    warmup, hard : float
        Shares of all steps, in [0, 1): at the start, and at the end with true rounding and the encoder frozen.
    average : float
        Decay of the moving average of the weights, which is what is looked at and kept; less for very few steps.
    seed : int
        Of the start, the images, the qualities, the noise and the flips.
    flips : bool
        Mirror every other image.
    bfloat16 : bool
        Compute the transforms in it, but for the steps with true rounding.
    """

    steps: int = 100_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.02
    hard: float = 0.12
    average: float = 0.9995
    seed: int = 0
    flips: bool = True
    bfloat16: bool = False


@dataclass(frozen=True)
class Look:
    """What a look at the training shows: the mean loss of its last step, and validation at each of `QUALITIES`."""

    step: int
    loss: float
    bits_per_pixel: list[float]
    mean_psnr: list[float]
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        """Return one line for a log."""
        pairs = zip(QUALITIES, self.bits_per_pixel, self.mean_psnr, strict=True)
        points = "  ".join(f"q{quality:g} {rate:.3f} bpp {psnr:.2f} dB" for quality, rate, psnr in pairs)
        return f"step {self.step:7d}  loss {self.loss:.4f}  {points}  {self.seconds:.0f} s"


def fit(
    model: learned.Model,
    images: Tensor,
    validation: Tensor,
    settings: Settings,
    *,
    device: str | None = None,
    checkpoint: Path | None = None,
    every: int = 1000,
    minutes: float = math.inf,
    progress: Callable[[Look], None] | None = None,
    began_with: str = "",
) -> list[Look] | None:
    """Train `model` in place for bits per pixel + lambda * 255**2 * MSE and return the looks taken.

    The loss of an image is divided by the root of its lambda, so that no end of the range outweighs the others. Under
    a launcher, the processes train one model together, as in `aelib.train.fit`.

    Parameters
    ----------
    model : Model
        Left on its device of training, in eval mode.
    images, validation : Tensor
        uint8, (N, C, H, W); padded to sizes that the stride divides, as the codec does. A GPU gets all of them.
    settings : Settings
    device : str, optional
        As in `aelib.train.pick_device`.
    checkpoint : Path, optional
        Written at every look. If it exists, training goes on from there, and on the CPU ends with the same bits as a
        run without a break.
    every : int
        Steps from one look to the next.
    minutes : float
        After so many, stop at the next look; then None is returned, and the checkpoint has what is needed to go on.
    progress : callable, optional
        Called with each look.
    began_with : str
        Names the weights that the model began with; a checkpoint of a run that began with others is refused.

    Raises
    ------
    TypeError, ValueError
        Images of another kind than the model takes; a checkpoint of other settings or images, or damaged.
    FloatingPointError
        A loss is no longer finite; the checkpoint is that of the look before.
    OSError
        The folder of the checkpoint cannot be written to; nothing has been trained.
    """
    for part in (images, validation):
        im.check(part, channels=model.design.channels)
    crew, start = distributed.launched(), time.perf_counter()
    settings = replace(settings, batch_size=settings.batch_size * crew.count)
    target = crew.connect(train.pick_device(device))
    model.to(target).to(memory_format=torch.channels_last)
    crew.begin_alike(model)
    decay = min(settings.average, 1 - 1 / (0.05 * settings.steps + 1))
    averaged = copy.deepcopy(model)
    rate = torch.tensor(settings.learning_rate, device=target)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True, capturable=target.type == "cuda")
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "average": averaged}
    origin = {"settings": asdict(settings), "design": learned.fields(model.design), "every": every}
    origin["began_with"] = began_with
    if checkpoint:
        origin |= {"images": checkpoints.digest(images), "validation": checkpoints.digest(validation)}
    found = crew.found(checkpoint, target)
    looks = [*range(every, settings.steps, every), settings.steps]
    possible = partial(_possible, looks=looks)
    history = checkpoints.restore(found, parts, origin, Look, target, possible=possible) if found else []
    if checkpoint and crew.first and (not history or history[-1].step < settings.steps):
        storage.check_writable(checkpoint.parent)
    before = history[-1].seconds if history else 0.0
    if any(side % model.design.stride for side in images.shape[2:]):  # others, in a file perhaps, are not copied
        images = im.padded(images, model.design.stride)
    images, validation = images.to(target), validation[:_PROBES].to(target)
    generator = torch.Generator(target)
    for group in optimizer.param_groups:
        group |= {"lr": rate, "capturable": target.type == "cuda"}  # a checkpoint may come from another kind of device
    rates_of = schedule.Settings(learning_rate=settings.learning_rate, warmup=settings.warmup)
    averaging = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def gradients(final: bool) -> Tensor:
        return _gradients(model, optimizer, images, settings, final, generator, crew)

    def update(loss: Tensor) -> Tensor:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        averaging(list(averaged.parameters()), list(model.parameters()), None)
        return loss

    stepper: Callable[[], Tensor] | None = None
    for step in range(history[-1].step if history else 0, settings.steps):
        final = step >= _switch(settings)
        if step == _switch(settings):
            model.load_state_dict(averaged.state_dict())
            stepper = None
        if stepper is None:
            stepper = capture.stepper(partial(gradients, final), update, list(model.parameters()), generator, crew)
        # Whatever is random depends on seed and step alone, so that a resumed run needs no state of a generator.
        generator.manual_seed(settings.seed * 1_000_003 + step)
        rate.fill_(schedule.learning_rate(rates_of, (step + 1) / settings.steps))
        loss = stepper()
        if (step + 1) % every and step + 1 < settings.steps:
            continue
        points = [evaluate(averaged, validation, quality) for quality in QUALITIES]
        rates, psnrs = (list(column) for column in zip(*points, strict=True))
        look = Look(step + 1, float(loss), rates, psnrs, before + time.perf_counter() - start)
        if not math.isfinite(look.loss + sum(rates)):
            raise FloatingPointError(f"expected a finite loss, got {look}; lower learning_rate")
        history.append(look)
        if checkpoint and crew.first:
            checkpoints.save(checkpoint, parts, origin, [asdict(one) for one in history])
        if progress and crew.first:
            progress(look)
        late = time.perf_counter() - start > 60 * minutes
        if crew.agreed(late, target) and step + 1 < settings.steps:
            return None
    model.load_state_dict(averaged.state_dict())
    model.to(memory_format=torch.contiguous_format).eval()
    return history


def _possible(history: list[Look], looks: list[int]) -> bool:
    points = {len(column) for look in history for column in (look.bits_per_pixel, look.mean_psnr)}
    return [look.step for look in history] == looks[: len(history)] and points <= {len(QUALITIES)}


def _switch(settings: Settings) -> int:
    """Return the first step with true rounding and the encoder frozen."""
    return round(settings.steps * (1 - settings.hard))


def _gradients(
    model: learned.Model,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    settings: Settings,
    final: bool,
    generator: torch.Generator,
    crew: distributed.Crew,
) -> Tensor:
    """Leave a step's gradients in the model and return its loss, of both this process's summand; wait for nothing."""
    count, device = settings.batch_size, images.device
    own, weight = crew.share(count)
    x = im.to_float(images[torch.randint(len(images), (count,), generator=generator, device=device)[own]])
    if settings.flips:
        flipped = torch.rand(count, 1, 1, 1, generator=generator, device=device)[own] < 0.5
        x = torch.where(flipped, x.flip(3), x)
    places = torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)
    quality = places[own] * ((prior.LEVELS - 1) / count)
    shares, prices = prior.mixture(quality), model.design.price(quality)
    model.autocast = settings.bfloat16 and not final and train.computes_bfloat16(device)
    with torch.set_grad_enabled(not final):
        y = model.analyse(x, shares)
    bits, latents = model.prior(y, shares, prior.hard if final else prior.noisy(generator, (count, own)))
    each = search.costs(x, model.synthesise(latents, shares), bits, prices)
    middle = math.sqrt(model.design.low * model.design.high)
    loss: Tensor = weight * (each * (middle / prices).sqrt()).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    model.autocast = False
    return loss.detach()


@torch.no_grad()
def evaluate(model: learned.Model, images: Tensor, quality: float, *, batch_size: int = 250) -> tuple[float, float]:
    """Return bits per pixel as the float prior has them and mean PSNR in dB, of uint8 images (N, C, H, W)."""
    bits, psnrs = [], []
    height, width = images.shape[2:]
    for part in torch.split(images, batch_size):
        shares = prior.mixture(torch.full((len(part),), quality, device=part.device))
        own, restored = model(im.to_float(im.padded(part, model.design.stride)), shares, prior.hard)
        bits.append(own)
        psnrs.append(metrics.psnr(part.cpu(), im.to_uint8(restored[:, :, :height, :width]).cpu()))
    return float(torch.cat(bits).double().mean()) / (height * width), float(torch.cat(psnrs).mean())
