"""The networks of the codec that is trained for rate and distortion at once, for all rates with one set of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aelib import images as im
from aelib.prior import LEVELS, Prior, Rounding, annealed, hard, mixed, mixture
from aelib.residual import Residual, start_as_pca


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
        tensor([0.0003, 0.0800])
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
        low=1.2e-5,
        high=6e-3,
    ),
}


class Model(nn.Module):
    """Encoder, prior and decoder, for images of any size that is a multiple of the stride.

    ::

        (N, 3, H, W) -> (N, 32, H/2, W/2) -> (N, 80, H/4, W/4) -> (N, 128, H/8, W/8) -> (N, 96, H/8, W/8)
          -gain(quality), rounding-> latents -1 / gain(quality)-> and back

    A stage is a pixel-unshuffle, a 1x1 convolution and residual blocks. At first all is linear; after `start` the
    encoder is principal component analysis of 8x8 blocks, and the decoder its inverse.

    Examples
    --------
    >>> sum(p.numel() for p in Model(Design()).parameters())
    1462620
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.autocast = False  # whether the transforms compute in bfloat16
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        channels = design.channels
        for width, count in zip(design.widths, design.blocks, strict=True):
            own = [Residual(width) for _ in range(2 * count)]
            down += [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 1), *own[:count]]
            up += [nn.PixelShuffle(2), nn.Conv2d(width, 4 * channels, 1), *own[count:]]
            channels = width
        self.encoder = nn.Sequential(*down, nn.Conv2d(channels, design.latents, 1))
        self.decoder = nn.Sequential(nn.Conv2d(design.latents, channels, 1), *reversed(up))
        # At a high rate a step of sqrt(6 C / (ln 2 lambda)) / 255 is best where there are as many latents as pixels.
        prices = design.price(torch.arange(LEVELS, dtype=torch.float64))
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
            State of another model of these widths, blocks and latents; its prior is left out if its passes differ.
        """
        im.check(images, channels=self.design.channels)
        x = im.to_float(im.padded(images, self.design.stride)) - 0.5
        if other is None:
            start_as_pca(self.encoder, self.decoder, x, seed=seed)
        elif {name: x.shape for name, x in other.items()} == {name: x.shape for name, x in self.state_dict().items()}:
            self.load_state_dict(other)
            return
        else:
            own = {name: other[name] for name in self.state_dict() if not name.startswith("prior.")}
            self.load_state_dict(own, strict=False)
        with torch.no_grad():
            spread = torch.cat([self.encoder(part) for part in torch.split(x, 500)]).std(dim=(0, 2, 3))
        self.prior.expect(self.gain.detach().exp2() * spread)

    def analyse(self, x: Tensor, shares: Tensor) -> Tensor:
        """Map float images in [0, 1], (N, C, H, W), to latents in steps of quantisation, (N, K, h, w).

        Parameters
        ----------
        x : Tensor
        shares : Tensor
            (N, 8), of the quality levels; see `aelib.prior.mixture`.
        """
        return self._run(self.encoder, x - 0.5) * mixed(shares, self.gain).exp2()

    def synthesise(self, latents: Tensor, shares: Tensor) -> Tensor:
        """Map latents, (N, K, h, w), to float images, (N, C, H, W), not yet cut off at 0 and 1."""
        return self._run(self.decoder, latents * mixed(shares, self.restore).exp2()) + 0.5

    def forward(self, x: Tensor, shares: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Return bits (N,) and restored images of float images (N, C, H, W)."""
        bits, latents = self.prior(self.analyse(x, shares), shares, rounding)
        return bits, self.synthesise(latents, shares)

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            # The layout in which CPUs convolve fastest.
            out: Tensor = network(x.contiguous(memory_format=torch.channels_last))
        return out.float()


def sensitivity(model: Model, images: Tensor, *, probes: int = 8) -> Tensor:
    """Return the mean squared derivative, summed over all values of the picture, by each channel of latents, (K,).

    The latents are those that the decoder's layers get, at the middle quality, of float images (N, C, H, W); the
    diagonal of the squared Jacobian is estimated with random signs (Hutchinson, 1990).
    """
    shares = mixture(torch.full((len(images),), (LEVELS - 1) / 2, device=images.device))
    with torch.no_grad():
        _, latents = model.prior(model.analyse(images, shares), shares, hard)
    z = (latents * mixed(shares, model.restore.detach()).exp2()).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(model.design.latents, device=images.device)
    for _ in range(probes):
        pictures = model.decoder(z)
        signs = torch.randint(0, 2, pictures.shape, generator=generator).to(images.device) * 2 - 1
        (gradient,) = torch.autograd.grad((pictures * signs).sum(), z)
        total += gradient.square().mean(dim=(0, 2, 3))
    return total / probes


def costs(images: Tensor, restored: Tensor, bits: Tensor, prices: Tensor) -> Tensor:
    """Return bits per pixel plus lambda * 255**2 * MSE of each image, (N,).

    Parameters
    ----------
    images, restored : Tensor
        float, (N, C, H, W), in [0, 1].
    bits, prices : Tensor
        (N,): bits of the stream, and lambda.
    """
    pixels = images.shape[2] * images.shape[3]
    return bits / pixels + prices * 255**2 * (images - restored).square().flatten(1).mean(dim=1)


@torch.enable_grad()
def refined(
    model: Model, images: Tensor, y: Tensor, shares: Tensor, prices: Tensor, *, steps: int = 60, rate: float = 0.04
) -> Tensor:
    """Move latents (N, K, h, w) to where `costs` are least, and return them.

    Parameters
    ----------
    model : Model
        Stays as it is.
    images, y, shares, prices : Tensor
        float images (N, C, H, W), their latents, and what `Model.analyse` and `costs` take.
    steps : int
        Of Adam, while the rounding cools down.
    rate : float
        Adam's learning rate, in steps of quantisation.
    """
    moved = y.detach().clone().requires_grad_(True)
    optimizer, generator = torch.optim.Adam([moved], lr=rate), torch.Generator().manual_seed(0)
    for step in range(steps):
        rounding = annealed(0.5 * 0.2 ** (step / steps), generator)
        bits, latents = model.prior(moved, shares, rounding)
        (moved.grad,) = torch.autograd.grad(costs(images, model.synthesise(latents, shares), bits, prices).sum(), moved)
        optimizer.step()
    return moved.detach()
