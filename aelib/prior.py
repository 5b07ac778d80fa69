"""What a latent is likely to be, given those decoded before it: the float network that is trained; `exact` codes.

Channels come in groups. The first group has a mean and a scale per channel; those of each further group come from a
network of two layers over all groups before it (Minnen and Singh, Channel-wise autoregressive entropy models, 2020).
Most bits are in the first channels, so the first groups are best of one channel each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 8
FINEST = 0.11  # the smallest scale: its residuals are 0 but for five in a million

Rounding = Callable[[Tensor], tuple[Tensor, Tensor]]


def mixture(quality: Tensor) -> Tensor:
    """Return the shares (N, 8) of the quality levels in fractional qualities (N,) from 0 to 7.

    >>> mixture(torch.tensor([6.25]))
    tensor([[0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.7500, 0.2500]])
    """
    return (1 - (quality[:, None] - torch.arange(LEVELS, device=quality.device)).abs()).clamp_min(0)


def mixed(shares: Tensor, table: Tensor) -> Tensor:
    """Return rows (N, D, 1, 1) of a table (8, D), mixed by `shares` (N, 8)."""
    return (shares[:, :, None] * table).sum(dim=1)[:, :, None, None]  # a matrix product would fall under autocast


def hard(residual: Tensor) -> tuple[Tensor, Tensor]:
    """Round, with the gradient of the identity: for the rate and for what is kept."""
    kept = residual + (residual.round() - residual).detach()
    return kept, kept


def noisy(generator: torch.Generator) -> Rounding:
    """Return the rounding for training: uniform noise for the rate (Balle et al., 2017), `hard` for what is kept."""

    def rounding(residual: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.empty_like(residual, requires_grad=False).uniform_(-0.5, 0.5, generator=generator)
        return residual + noise, hard(residual)[1]

    return rounding


def annealed(temperature: float, generator: torch.Generator) -> Rounding:
    """Return a rounding that is soft, and random, the more so the higher the temperature.

    Stochastic Gumbel annealing (Yang, Bamler and Mandt, Improving inference for neural image compression, 2020).
    """

    def rounding(residual: Tensor) -> tuple[Tensor, Tensor]:
        below = residual.detach().floor()
        share = (residual - below).clamp(1e-4, 1 - 1e-4)
        chance = torch.rand(residual.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        preference = (torch.atanh(share) - torch.atanh(1 - share)) / temperature + torch.logit(chance)
        soft = below + torch.sigmoid(preference / temperature)
        return soft, soft

    return rounding


def information(residual: Tensor, octaves: Tensor) -> Tensor:
    """Return the bits of residuals under a Gaussian of scale ``FINEST * 2**octaves`` over intervals of width 1."""
    size, spread = residual.abs(), FINEST * math.sqrt(2) * torch.exp2(octaves)
    # Both terms are upper tails, of which float32 keeps the relative precision far out.
    probability = 0.5 * (torch.erfc((size - 0.5) / spread) - torch.erfc((size + 0.5) / spread))
    return -torch.log2(probability.clamp_min(1e-30))


class _Floor(torch.autograd.Function):
    """Values of at least 0, whose gradient stops below 0 only where it would lead further down."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        passed: Tensor = gradients[0] * ((ctx.saved_tensors[0] >= 0) | (gradients[0] < 0))
        return passed


class Prior(nn.Module):
    """Means and scales of latents (N, C, h, w), group after group.

    ::

        groups before, over their unit -3x3, + shift(quality), ReLU-> (N, hidden, h, w)
          -1x1, + bias(quality)-> (mean / unit, log2(scale / FINEST)) of the group's latents

    Parameters
    ----------
    groups : sequence of int
        How many channels each group has; C is their sum.
    hidden : int
        The width of the hidden layer.
    """

    def __init__(self, groups: Sequence[int], hidden: int) -> None:
        super().__init__()
        if not groups or min(groups) < 1:
            raise ValueError(f"expected one or more groups of at least one channel, got {groups}")
        self.groups = list(groups)
        self.units = nn.Parameter(torch.zeros(LEVELS, sum(groups)))
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(LEVELS, 2 * size)) for size in groups])
        widths = list(accumulate(groups))[:-1]
        self.shifts = nn.ParameterList([nn.Parameter(torch.zeros(LEVELS, hidden)) for _ in widths])
        self.inner = nn.ModuleList([nn.Conv2d(width, hidden, 3, padding=1, bias=False) for width in widths])
        self.outer = nn.ModuleList([nn.Conv2d(hidden, 2 * size, 1, bias=False) for size in groups[1:]])
        for layer in self.outer:
            nn.init.zeros_(next(layer.parameters()))

    @torch.no_grad()
    def expect(self, scales: Tensor) -> None:
        """Expect latents around 0 with these scales, (8, C), in steps of quantisation at each quality level."""
        octaves = scales.clamp_min(FINEST).log2()
        self.units.copy_(octaves)
        for bias, own in zip(self.biases, torch.split(octaves, self.groups, dim=1), strict=True):
            bias.copy_(torch.cat([torch.zeros_like(own), own - math.log2(FINEST)], dim=1))

    def forward(self, y: Tensor, shares: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Quantise float latents and return their information in bits, (N,), and what the decoder gets, (N, C, h, w).

        Parameters
        ----------
        y : Tensor
            (N, C, h, w), in steps of quantisation.
        shares : Tensor
            (N, 8), see `mixture`.
        rounding : callable
            Maps residuals to those that are charged and those that are kept: `hard`, or what `noisy` returns.
        """
        units = torch.split(mixed(shares, self.units.exp2()), self.groups, dim=1)
        inverses = torch.split(mixed(shares, (-self.units).exp2()), self.groups, dim=1)
        latents: list[Tensor] = []
        context: list[Tensor] = []
        bits = y.new_zeros(len(y))
        for index, own in enumerate(torch.split(y, self.groups, dim=1)):
            found = mixed(shares, self.biases[index])
            if index:
                hidden = self.inner[index - 1](torch.cat(context, dim=1)) + mixed(shares, self.shifts[index - 1])
                found = found + self.outer[index - 1](torch.relu(hidden))
            mean, octaves = found.chunk(2, dim=1)
            mean = mean * units[index]
            charged, kept = rounding(own - mean)
            bits = bits + information(charged, _Floor.apply(octaves)).flatten(1).sum(dim=1)
            latents.append(kept + mean)
            context.append(latents[-1] * inverses[index])
        return bits, torch.cat(latents, dim=1)
