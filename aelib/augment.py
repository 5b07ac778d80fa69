"""Random changes that make more training images out of few: mirrored, and moved by some pixels.

The random numbers come from outside, a row for every image, so that they do not depend on how a batch is shared out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aelib import images as im
from aelib.schedule import Settings


def draws(count: int, settings: Settings, generator: torch.Generator) -> Tensor:
    """Return the random numbers in [0, 1) that `changed` takes for so many images, float, (count, 0, 1 or 3)."""
    return torch.rand(count, 3 if settings.shift else int(settings.flips), generator=generator)


def changed(images: Tensor, drawn: Tensor, settings: Settings) -> Tensor:
    """Return images as they are trained on, float (N, C, H, W) in [0, 1].

    Parameters
    ----------
    images : Tensor
        uint8, (N, C, H, W).
    drawn : Tensor
        float, (N, 0, 1 or 3), what `draws` gave for these images.
    settings : Settings
        Of `flips` and `shift`, what is done.
    """
    x = im.to_float(images)
    if settings.flips:
        x = torch.where((drawn[:, 0] < 0.5)[:, None, None, None], x.flip(3), x)
    if settings.shift:
        x = moved(x, (drawn[:, 1:] * (2 * settings.shift + 1)).long() - settings.shift)
    return x


def moved(x: Tensor, offsets: Tensor) -> Tensor:
    """Return images (N, C, H, W) moved by whole pixels, int64 (N, 2) down and right, fewer than H and W.

    What comes in over the border is the mirror image of what lies inside of it, without the border itself.

    >>> moved(torch.arange(4.0).reshape(1, 1, 1, 4), torch.tensor([[0, 2]])).flatten().tolist()
    [2.0, 1.0, 0.0, 1.0]
    """
    rows, columns = (_sources(offsets[:, axis], x.shape[2 + axis]) for axis in (0, 1))
    first = torch.arange(len(x), device=x.device)[:, None, None]
    return x[first, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _sources(offsets: Tensor, size: int) -> Tensor:
    """Return which of `size` places the value at each place comes from, (N, size)."""
    places = (torch.arange(size, device=offsets.device) - offsets[:, None]).abs()
    return (size - 1) - ((size - 1) - places).abs()
