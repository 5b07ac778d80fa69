"""What a latent is likely to be, given those decoded before it: the float network that is trained; `exact` codes.

Channels come in groups. The first group has a mean and a scale per channel; those of each further group come from a
network of two layers over all groups before it (Minnen and Singh, Channel-wise autoregressive entropy models, 2020).
Most bits are in the first channels, so the first groups are best of one channel each, and coded in two passes: first
the black places of a chequerboard, then the white ones, given their neighbours (He et al., Checkerboard context model,
2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


def noisy(generator: torch.Generator, share: tuple[int, slice] | None = None) -> Rounding:
    """Return the rounding for training: uniform noise for the rate (Balle et al., 2017), `hard` for what is kept.

    Parameters
    ----------
    generator : Generator
    share : tuple of int and slice, optional
        Of how many images the residuals are, and of which of them: they get the noise that they would have among all.
    """

    def rounding(residual: Tensor) -> tuple[Tensor, Tensor]:
        whole, own = share or (len(residual), slice(None))
        strides = (residual[0].numel(), *residual.stride()[1:])  # random numbers come in the order of memory
        noise = torch.empty_strided((whole, *residual.shape[1:]), strides, dtype=residual.dtype, device=residual.device)
        return residual + noise.uniform_(-0.5, 0.5, generator=generator)[own], hard(residual)[1]

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


class Pass(NamedTuple):
    """What is coded at once: the channels `own`, of all places or a half, given what is known of the first `inputs`."""

    own: slice
    inputs: int
    half: int | None = None


def passes(groups: Sequence[int], halved: int) -> list[Pass]:
    """Return the passes over groups of so many channels, two for each of the first `halved`.

    >>> [(step.own.start, step.own.stop, step.inputs, step.half) for step in passes((1, 2), 1)]
    [(0, 1, 0, 0), (0, 1, 1, 1), (1, 3, 1, None)]
    """
    found, start = [], 0
    for index, size in enumerate(groups):
        own = slice(start, start + size)
        found += [Pass(own, start, 0), Pass(own, own.stop, 1)] if index < halved else [Pass(own, start)]
        start = own.stop
    return found


def inside(half: int | None, height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Return which places, bool (h, w), are of a half of the chequerboard; all for None.

    >>> inside(1, 2, 3).int().tolist()
    [[0, 1, 0], [1, 0, 1]]
    """
    parity = (torch.arange(height, device=device)[:, None] + torch.arange(width, device=device)) % 2
    return torch.ones_like(parity, dtype=torch.bool) if half is None else parity == half


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
    halved : int
        How many groups, from the first, are coded in two passes.
    """

    def __init__(self, groups: Sequence[int], hidden: int, halved: int = 0) -> None:
        super().__init__()
        if not groups or min(groups) < 1:
            raise ValueError(f"expected one or more groups of at least one channel, got {groups}")
        self.groups = list(groups)
        self.passes = passes(groups, halved)
        sizes = [2 * (step.own.stop - step.own.start) for step in self.passes]
        widths = [step.inputs for step in self.passes[1:]]
        self.units = nn.Parameter(torch.zeros(LEVELS, sum(groups)))
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(LEVELS, size)) for size in sizes])
        self.shifts = nn.ParameterList([nn.Parameter(torch.zeros(LEVELS, hidden)) for _ in widths])
        self.inner = nn.ModuleList([nn.Conv2d(width, hidden, 3, padding=1, bias=False) for width in widths])
        self.outer = nn.ModuleList([nn.Conv2d(hidden, size, 1, bias=False) for size in sizes[1:]])
        for layer in self.outer:
            nn.init.zeros_(next(layer.parameters()))

    @torch.no_grad()
    def expect(self, scales: Tensor) -> None:
        """Expect latents around 0 with these scales, (8, C), in steps of quantisation at each quality level."""
        octaves = scales.clamp_min(FINEST).log2()
        self.units.copy_(octaves)
        for bias, step in zip(self.biases, self.passes, strict=True):
            own = octaves[:, step.own]
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
        tables = [*self.biases, *self.shifts]
        rows = torch.split(mixed(shares, torch.cat(tables, dim=1)), [table.shape[1] for table in tables], dim=1)
        biases, shifts = rows[: len(self.passes)], rows[len(self.passes) :]
        whole = (y, mixed(shares, self.units.exp2()), mixed(shares, (-self.units).exp2()))
        groups = iter(zip(*(torch.split(part, self.groups, dim=1) for part in whole), strict=True))
        coded: list[list[Tensor]] = []
        context: list[Tensor] = []
        for index, (_, _, half) in enumerate(self.passes):
            found = biases[index]
            if index:
                hidden = self.inner[index - 1](torch.cat(context, dim=1)) + shifts[index - 1]
                found = found + self.outer[index - 1](torch.relu(hidden))
            mean, octaves = found.chunk(2, dim=1)
            if half != 1:
                own, unit, inverse = next(groups)
            mean = mean * unit
            charged, kept = rounding(own - mean)
            now = [charged, octaves.expand_as(kept), kept + mean]
            if half is not None:
                mask = inside(half, *y.shape[2:], device=y.device)
            if half == 1:
                now = [torch.where(mask, new, old) for new, old in zip(now, coded.pop(), strict=True)]
                context.pop()
            coded.append(now)
            context.append((now[-1] * mask if half == 0 else now[-1]) * inverse)
        # One call for all: what costs a small tensor's time is the number of calls.
        charged, octaves, latents = (torch.cat(parts, dim=1) for parts in zip(*coded, strict=True))
        return information(charged, _Floor.apply(octaves)).flatten(1).sum(dim=1), latents
