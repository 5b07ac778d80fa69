"""Training losses: functions of a network's raw output, the images it should be, and how raw values become brightness.

All take float tensors (N, C, H, W), the images in [0, 1], and return a scalar.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Squash = Callable[[Tensor], Tensor]


def mse(raw: Tensor, target: Tensor, squash: Squash = torch.sigmoid) -> Tensor:
    """Return the mean squared error over all values."""
    return F.mse_loss(squash(raw), target)


def psnr(raw: Tensor, target: Tensor, squash: Squash = torch.sigmoid) -> Tensor:
    """Return the negative mean over the images of their PSNR in dB, cut off at 60 dB."""
    own = (squash(raw) - target).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(own + 1e-6).mean()


def bce(raw: Tensor, target: Tensor, squash: Squash = torch.sigmoid) -> Tensor:
    """Return the binary cross-entropy in nats, a mean over all values; raw values must be logits."""
    if squash(torch.zeros(1)).item() != 0.5:
        raise ValueError("expected a network that ends in a sigmoid for the loss bce; mse and psnr fit every network")
    return F.binary_cross_entropy_with_logits(raw, target)


LOSSES: dict[str, Callable[..., Tensor]] = {"mse": mse, "bce": bce, "psnr": psnr}
