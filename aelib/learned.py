"""The networks of the codec that is trained for rate and distortion at once, for all rates with one set of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aelib import images as im
from aelib.prior import LEVELS, Prior, Rounding, mixed, mixture
from aelib.residual import Residual, start_as_pca

_SPREAD_IMAGES = 2000  # from which a new prior learns how the latents spread


@dataclass(frozen=True)
class Design:
    """What a model is built from.

    Attributes
    ----------
    channels : int
        C of the images.
    widths, blocks : tuple of int
        Channels and residual blocks of each stage of the encoder; every stage halves height and width.
    groups : tuple of int
        Channels of each group of the latents.
    hidden : int
        The hidden width of the prior's networks.
    halved : int
        How many groups, from the first, are coded in two passes.
    low, high : float
        The price of distortion, lambda, at quality 0 and 7: bits per pixel for one unit of 255**2 * MSE.
    """

    channels: int = 3
    widths: tuple[int, ...] = (32, 80, 176)
    blocks: tuple[int, ...] = (2, 1, 1)
    groups: tuple[int, ...] = (1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32)
    hidden: int = 192
    halved: int = 6
    low: float = 0.0004
    high: float = 0.16

    @property
    def latents(self) -> int:
        """Channels of the latents."""
        return sum(self.groups)

    @property
    def stride(self) -> int:
        """How many rows and columns of pixels one latent stands for."""
        return 1 << len(self.widths)

    @property
    def margin(self) -> int:
        """How many latents away a pixel can still change one, and be changed by one."""
        return math.ceil(sum(2 * count * 0.5**depth for depth, count in enumerate(reversed(self.blocks))))

    def price(self, quality: Tensor) -> Tensor:
        """Return lambda at fractional qualities from 0 to 7.

        >>> Design().price(torch.tensor([0.0, 7.0]))
        tensor([0.0004, 0.1600])
        """
        prices: Tensor = self.low * (self.high / self.low) ** (quality / (LEVELS - 1))
        return prices


def fields(design: Design) -> dict[str, Any]:
    """Return the fields of a design as JSON has them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(design).items()}


def design(stored: Mapping[str, Any]) -> Design:
    """Return the design with the fields that JSON had."""
    values: dict[str, Any] = {name: tuple(own) if isinstance(own, list) else own for name, own in stored.items()}
    return Design(**values)


DESIGNS = {
    "cifar10": Design(),
    "mnist": Design(
        channels=1,
        widths=(32, 64, 96),
        blocks=(1, 1, 1),
        groups=(1, 1, 1, 1, 2, 2, 4, 4, 8, 8),
        hidden=96,
        low=6e-6,
        high=4e-2,
    ),
}


def repriced(state: Mapping[str, Tensor], had: Design, wanted: Design) -> dict[str, Tensor]:
    """Return a model's state with its quality levels at the prices of another design: mixed from those around each."""
    prices = wanted.price(torch.arange(LEVELS, dtype=torch.float64))
    places = (LEVELS - 1) * (prices / had.low).log() / math.log(had.high / had.low)
    shares = mixture(places.clamp(0, LEVELS - 1).float())
    tables = ("gain", "restore", ".units", ".shift", ".scale", "prior.biases", "prior.shifts")
    return {name: shares @ own if any(part in name for part in tables) else own for name, own in state.items()}


class Conditional(Residual):
    """A residual block whose hidden channels are shifted and scaled as each quality wants them.

    So one network can leave off at low rates what only high ones need (Perez et al., FiLM, 2018). At first it does
    nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.shift = nn.Parameter(torch.zeros(LEVELS, width))
        self.scale = nn.Parameter(torch.zeros(LEVELS, width))

    def forward(self, x: Tensor, shares: Tensor | None = None) -> Tensor:
        """Return `x`, (N, C, H, W), and what the branch adds to it at the qualities of `shares`, (N, 8), if given."""
        if shares is None:
            return super().forward(x)
        hidden = torch.relu(self.inner(x) + mixed(shares, self.shift)) * (1 + mixed(shares, self.scale))
        added: Tensor = self.outer(hidden)
        return x + added


class Model(nn.Module):
    """Encoder, prior and decoder, for images of any size that is a multiple of the stride.

    ::

        (N, 3, H, W) -> (N, 32, H/2, W/2) -> (N, 80, H/4, W/4) -> (N, 176, H/8, W/8) -> (N, 128, H/8, W/8)
          -gain(quality), rounding-> latents -1 / gain(quality)-> and back

    A stage is a pixel-unshuffle, a 1x1 convolution and conditional residual blocks. At first all is linear; after
    `start` the encoder is principal component analysis of 8x8 blocks, and the decoder its inverse.

    Examples
    --------
    >>> sum(p.numel() for p in Model(Design()).parameters())
    2284572
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.autocast = False  # whether the transforms compute in bfloat16
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        channels = design.channels
        for width, count in zip(design.widths, design.blocks, strict=True):
            own = [Conditional(width) for _ in range(2 * count)]
            down += [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 1), *own[:count]]
            up += [nn.PixelShuffle(2), nn.Conv2d(width, 4 * channels, 1), *own[count:]]
            channels = width
        self.encoder = nn.Sequential(*down, nn.Conv2d(channels, design.latents, 1))
        self.decoder = nn.Sequential(nn.Conv2d(design.latents, channels, 1), *reversed(up))
        # At a high rate a step of sqrt(6 C / (ln 2 lambda)) / 255 is best where there are as many latents as pixels.
        prices = design.price(torch.arange(LEVELS, dtype=torch.float64, device="cpu"))
        gains = (255 * (math.log(2) * prices / (6 * design.channels)).sqrt()).float()
        self.gain = nn.Parameter(gains.log2()[:, None].repeat(1, design.latents))
        self.restore = nn.Parameter(-self.gain.detach().clone())
        self.prior = Prior(design.groups, design.hidden, design.halved)
        self.prior.expect(self.gain.detach().exp2())

    def start(self, images: Tensor, *, seed: int = 0, other: Mapping[str, Tensor] | None = None) -> None:
        """Take the weights of another model, or become principal component analysis of blocks of the images.

        Parameters
        ----------
        images : Tensor
            uint8, (N, C, H, W); a new prior expects latents that spread as theirs do.
        other : mapping of str to Tensor, optional
            State of another model of these widths, blocks and latents, with or without conditions; its prior is left
            out if its passes differ.
        """
        im.check(images, channels=self.design.channels)
        x = im.to_float(im.padded(images, self.design.stride)) - 0.5
        if other is None:
            start_as_pca(self.encoder, self.decoder, x, seed=seed)
        elif self._adopt(other):
            return
        parts = torch.split(x[:_SPREAD_IMAGES] + 0.5, 500)
        with torch.no_grad():
            levels = [torch.cat([self.analyse(part, level[None]) for part in parts]) for level in torch.eye(LEVELS)]
        self.prior.expect(torch.stack([y.std(dim=(0, 2, 3)) for y in levels]))

    def _adopt(self, other: Mapping[str, Tensor]) -> bool:
        """Take the weights of another model, and return whether its prior was among them."""
        own = self.state_dict()
        known = {name: value for name, value in other.items() if name in own and value.shape == own[name].shape}
        lacking = [name for name in own if name not in known and not name.endswith((".shift", ".scale"))]
        if foreign := [name for name in lacking if not name.startswith("prior.")]:
            raise KeyError(f"no {foreign[0]} of the shape {tuple(own[foreign[0]].shape)}")
        kept = {name: value for name, value in known.items() if not lacking or not name.startswith("prior.")}
        self.load_state_dict(kept, strict=False)
        return not lacking

    def analyse(self, x: Tensor, shares: Tensor) -> Tensor:
        """Map float images in [0, 1], (N, C, H, W), to latents in steps of quantisation, (N, K, h, w).

        Parameters
        ----------
        x : Tensor
        shares : Tensor
            (N, 8), of the quality levels; see `aelib.prior.mixture`.
        """
        return self._run(self.encoder, x - 0.5, shares) * mixed(shares, self.gain).exp2()

    def synthesise(self, latents: Tensor, shares: Tensor) -> Tensor:
        """Map latents, (N, K, h, w), to float images, (N, C, H, W), not yet cut off at 0 and 1."""
        return self.pictures(latents * mixed(shares, self.restore).exp2(), shares)

    def pictures(self, z: Tensor, shares: Tensor) -> Tensor:
        """Map what the decoder's layers get, (N, K, h, w), to float images, (N, C, H, W)."""
        return self._run(self.decoder, z, shares) + 0.5

    def forward(self, x: Tensor, shares: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Return bits (N,) and restored images of float images (N, C, H, W)."""
        bits, latents = self.prior(self.analyse(x, shares), shares, rounding)
        return bits, self.synthesise(latents, shares)

    def _run(self, network: nn.Sequential, x: Tensor, shares: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # in which CPUs convolve fastest
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            for layer in network:
                x = layer(x, shares) if isinstance(layer, Conditional) else layer(x)
        return x.float()


def outline(design: Design, most: int) -> Model:
    """Return a model whose weights have shapes alone, for ``load_state_dict(..., assign=True)``.

    Whatever the widths, it takes no memory; ValueError if the design has more layers than `most`.
    """
    layers = len(design.groups) + sum(1 + abs(count) for count in design.blocks)
    if layers > most:
        raise ValueError(f"expected a tensor or more for each of {layers} layers, got {most}")
    with torch.device("meta"):
        return Model(design)
