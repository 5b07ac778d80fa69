"""Residual autoencoders, and the start that makes them principal component analysis until they learn more.

Every change of size is linear, and every residual branch ends in weights of zero: a new network is one linear map down
and one up. `start_as_pca` chooses these maps from images, so that training begins where linear methods end.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aelib import images as im
from aelib.bottleneck import Autoencoder

WIDTHS = (40, 80, 112)
BLOCKS = (2, 1, 1)
_PROBES = 50_000


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, (N, C, H, W) -> (N, C, H, W); the second one starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.outer.weight)
        if self.outer.bias is not None:
            nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` and what the branch adds to it."""
        added: Tensor = self.outer(torch.relu(self.inner(x)))
        return x + added


def stages(size: int, widths: tuple[int, ...] = WIDTHS) -> tuple[int, ...]:
    """Return the width after each halving of the side, down to 4 pixels or an odd number.

    >>> stages(32), stages(28)
    ((40, 80, 112), (40, 80))
    """
    count = 0
    while count < len(widths) and size % 2 == 0 and size > 4:
        count, size = count + 1, size // 2
    return widths[:count]


def encoder(
    latent_dim: int,
    channels: int,
    size: int,
    *,
    widths: tuple[int, ...] = WIDTHS,
    blocks: tuple[int, ...] = BLOCKS,
) -> nn.Sequential:
    """Return the layers from images (N, C, H, W) to latents (N, K).

    Each stage gathers 2x2 pixels in one, mixes the channels, and adds residual blocks.
    """
    layers: list[nn.Module] = []
    for width, count in zip(stages(size, widths), blocks, strict=False):
        layers += [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 1)]  # (N, width, H/2, W/2)
        layers += [Residual(width) for _ in range(count)]
        channels, size = width, size // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, latent_dim))


def decoder(
    latent_dim: int,
    channels: int,
    size: int,
    *,
    widths: tuple[int, ...] = WIDTHS,
    blocks: tuple[int, ...] = BLOCKS,
) -> nn.Sequential:
    """Return the mirror image of `encoder`: latents (N, K) to images (N, C, H, W)."""
    own = stages(size, widths)
    side = size // 2 ** len(own)
    layers: list[nn.Module] = [nn.Linear(latent_dim, own[-1] * side**2), nn.Unflatten(1, (own[-1], side, side))]
    for stage in reversed(range(len(own))):
        layers += [Residual(own[stage]) for _ in range(blocks[stage])]
        following = own[stage - 1] if stage else channels
        layers += [nn.Conv2d(own[stage], 4 * following, 1), nn.PixelShuffle(2)]  # (N, following, 2H, 2W)
    return nn.Sequential(*layers)


@torch.no_grad()
def start_as_pca(down: nn.Sequential, up: nn.Sequential, images: Tensor, *, seed: int = 0) -> None:
    """Set the linear layers of an encoder and its decoder so that both together are PCA, stage by stage.

    Each 1x1 convolution keeps the principal components of what it gets, turned at random so that all channels carry
    alike; the bottleneck keeps those of the last features, by falling variance: scaled to variance 1 if it is linear,
    as they are if it is a 1x1 convolution. The decoder inverts each step.

    Parameters
    ----------
    down, up : nn.Sequential
        On the CPU; residual branches still at zero, no strides but those of pixel-unshuffles.
    images : Tensor
        float, (N, C, H, W), in [0, 1], more of them than the bottleneck has latents.
    seed : int
        Of the turns and of the choice of pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    convolutions = [layer for layer in reversed(up) if isinstance(layer, nn.Conv2d)]
    features = images
    for layer in down[:-1]:
        if isinstance(layer, nn.Conv2d):
            mean, components = _principal(_pixels(features, generator), layer.out_channels)
            turn, _ = torch.linalg.qr(torch.randn(layer.out_channels, layer.out_channels, generator=generator))
            turned = turn[:, : len(components)] @ components
            _set(layer, turned, -turned @ mean)
            _set(convolutions.pop(0), turned.T, mean)
        features = layer(features)
    last: Any = down[-1]
    if isinstance(last, nn.Conv2d):
        mean, components = _principal(_pixels(features, generator), last.out_channels)
        scale = torch.ones(len(components))
    else:
        mean, components = _principal(features, len(last.bias))
        scale = ((features - mean) @ components.T).std(dim=0).clamp_min(1e-3)
    _set(last, components / scale[:, None], -(components / scale[:, None]) @ mean)
    _set(up[0], (components * scale[:, None]).T, mean)


def _pixels(features: Tensor, generator: torch.Generator) -> Tensor:
    """Return the channels of randomly chosen pixels, (_PROBES, C), of features (N, C, H, W)."""
    values = features.permute(1, 0, 2, 3).flatten(1)
    return values[:, torch.randint(values.shape[1], (_PROBES,), generator=generator)].T


def _principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return mean and principal components, (up to `count`, D), of rows (N, D)."""
    mean = rows.mean(dim=0)
    centred = rows - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)  # by rising eigenvalue
    return mean, vectors.T.flip(0)[:count]


def _set(layer: Any, weight: Tensor, bias: Tensor) -> None:
    """Set a layer to a matrix (its outputs, its inputs) and a bias; what of it they do not reach becomes zero."""
    layer.weight.zero_()
    layer.weight.flatten(1)[: weight.shape[0], : weight.shape[1]] = weight
    layer.bias.zero_()
    layer.bias[: len(bias)] = bias


class ResidualAutoencoder(Autoencoder):
    """Three stages of residual blocks around a linear trunk.

    ::

        (N, 3, 32, 32) -> (N, 40, 16, 16) -> (N, 80, 8, 8) -> (N, 112, 4, 4) -linear-> (N, K), and back

    Images whose side halves only twice, as 28 does, have two stages. The raw values are brightness itself: a sigmoid
    would bend the linear trunk.

    Examples
    --------
    >>> sum(p.numel() for p in ResidualAutoencoder(256).parameters())
    1816788
    """

    encoder: nn.Sequential
    decoder: nn.Sequential

    def __init__(
        self,
        latent_dim: int,
        channels: int = 3,
        size: int = 32,
        *,
        widths: tuple[int, ...] = WIDTHS,
        blocks: tuple[int, ...] = BLOCKS,
    ) -> None:
        if len(blocks) != len(widths):
            raise ValueError(f"expected as many numbers of blocks as widths, got {blocks} and {widths}")
        super().__init__(latent_dim, channels, size)
        self.encoder = encoder(latent_dim, channels, size, widths=widths, blocks=blocks)
        self.decoder = decoder(latent_dim, channels, size, widths=widths, blocks=blocks)

    def squash(self, raw: Tensor) -> Tensor:
        """Cut brightness off at 0 and 1, but for a hundredth of the rest, which keeps the gradient alive."""
        inside = raw.clamp(0, 1)
        return inside + 0.01 * (raw - inside)

    def start(self, images: Tensor, *, seed: int = 0) -> None:
        """Become principal component analysis of uint8 images (N, C, H, W); for a network not yet trained."""
        im.check(images, channels=self.channels, size=(self.size, self.size))
        start_as_pca(self.encoder, self.decoder, im.to_float(images), seed=seed)


class OrderedAutoencoder(ResidualAutoencoder):
    """A residual autoencoder whose latents come in order of importance: any prefix of the vector is a code.

    Nested dropout (Rippel, Gelbart and Adams, Learning Ordered Representations with Nested Dropout, 2014): in training,
    all latents behind a random place are set to zero, another place for every image.
    """

    def encode(self, x: Tensor) -> Tensor:
        """Map float images in [0, 1], (N, C, H, W), to latents, (N, K); in training, to random prefixes of them."""
        latents = super().encode(x)
        if not self.training:
            return latents
        # The square of a uniform number: short prefixes, which decide on the order, come up more often than long ones.
        whole, own = self.share or (len(x), slice(None))
        lengths = torch.rand(whole, 1, device=x.device)[own].square() * self.latent_dim
        return latents * (torch.arange(self.latent_dim, device=x.device) <= lengths)


def prefix(latents: Tensor, length: int) -> Tensor:
    """Return latents (N, K) with all behind the first `length` set to zero, as `OrderedAutoencoder` decodes them."""
    if not 0 <= length <= latents.shape[1]:
        raise ValueError(f"expected a length from 0 to {latents.shape[1]}, got {length}")
    return F.pad(latents[:, :length], (0, latents.shape[1] - length))


def shortened(
    parent: Autoencoder, latent_dim: int, kind: type[ResidualAutoencoder] = ResidualAutoencoder
) -> ResidualAutoencoder:
    """Return an autoencoder that does with K = `latent_dim` latents what `parent` does with its first K."""
    if not isinstance(parent, OrderedAutoencoder) or latent_dim > parent.latent_dim:
        raise ValueError(
            f"expected an ordered autoencoder with {latent_dim} or more latents, got {type(parent).__name__} "
            f"with {parent.latent_dim}"
        )
    state = copy.deepcopy(parent.state_dict())
    last = f"encoder.{len(parent.encoder) - 1}"
    for name in (f"{last}.weight", f"{last}.bias"):
        state[name] = state[name][:latent_dim].clone()
    state["decoder.0.weight"] = state["decoder.0.weight"][:, :latent_dim].clone()
    with torch.device("meta"):  # where nothing is drawn at random
        model = kind(latent_dim, parent.channels, parent.size)
    model.load_state_dict(state, assign=True)
    return model.train(parent.training)
