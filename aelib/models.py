"""The networks by name, and images through them: uint8 in, uint8 out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from aelib import images as im
from aelib.bottleneck import Autoencoder as Autoencoder
from aelib.residual import OrderedAutoencoder, ResidualAutoencoder


class ConvAutoencoder(Autoencoder):
    """Two strided convolutions, one linear layer, and the mirror image of both.

    ::

        (N, C, H, W) -conv-> (N, 16, H/2, W/2) -conv-> (N, 32, H/4, W/4) -linear-> (N, K)
        (N, K) -linear-> (N, 32, H/4, W/4) -conv^T-> (N, 16, H/2, W/2) -conv^T, sigmoid-> (N, C, H, W)

    Examples
    --------
    >>> sum(p.numel() for p in ConvAutoencoder(128).parameters())
    536611
    """

    def __init__(self, latent_dim: int, channels: int = 3, size: int = 32) -> None:
        super().__init__(latent_dim, channels, size)
        side = size // 4
        features = 32 * side * side
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),  # (N, 16, H/2, W/2)
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (N, 32, H/4, W/4)
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(features, latent_dim),  # (N, K)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features),
            nn.ReLU(),
            nn.Unflatten(1, (32, side, side)),  # (N, 32, H/4, W/4)
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),  # (N, 16, H/2, W/2)
            nn.ReLU(),
            nn.ConvTranspose2d(16, channels, 3, stride=2, padding=1, output_padding=1),  # (N, C, H, W)
        )


class DenseAutoencoder(Autoencoder):
    """One hidden layer on either side of the bottleneck, no convolution: every pixel sees every other.

    ::

        (N, C, H, W) -linear-> (N, hidden) -linear-> (N, K) -linear-> (N, hidden) -linear, sigmoid-> (N, C, H, W)

    The hidden width is the one that gives about as many parameters as `ConvAutoencoder` has at the same K, but at
    least K, because a narrower layer would be the true bottleneck. ELU (Clevert et al., 2016) instead of ReLU: it
    passes negative values on, which a hidden layer no wider than the bottleneck cannot afford to lose.

    Examples
    --------
    >>> dense, conv = DenseAutoencoder(32, 1, 28), ConvAutoencoder(32, 1, 28)
    >>> [sum(p.numel() for p in model.parameters()) for model in (dense, conv)]
    [111928, 111521]
    """

    def __init__(self, latent_dim: int, channels: int = 3, size: int = 32) -> None:
        super().__init__(latent_dim, channels, size)
        pixels = channels * size * size
        conv = sum(p.numel() for p in ConvAutoencoder(latent_dim, channels, size).parameters())
        hidden = max(latent_dim, round((conv - latent_dim - pixels) / (2 * (pixels + latent_dim + 1))))
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(pixels, hidden),  # (N, hidden)
            nn.ELU(),
            nn.Linear(hidden, latent_dim),  # (N, K)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden),  # (N, hidden)
            nn.ELU(),
            nn.Linear(hidden, pixels),
            nn.Unflatten(1, (channels, size, size)),  # (N, C, H, W)
        )


ARCHITECTURES: dict[str, type[Autoencoder]] = {
    "conv": ConvAutoencoder,
    "dense": DenseAutoencoder,
    "residual": ResidualAutoencoder,
    "ordered": OrderedAutoencoder,
}


@torch.no_grad()
def codes(model: Autoencoder, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """Return the latents of uint8 images (N, C, H, W) as float32 (N, K) on the CPU."""
    im.check(images, channels=model.channels, size=(model.size, model.size))
    device = next(model.parameters()).device
    return torch.cat([model.encode(im.to_float(part.to(device))).cpu() for part in torch.split(images, batch_size)])


@torch.no_grad()
def pictures(model: Autoencoder, latents: Tensor, *, batch_size: int = 20) -> Tensor:
    """Return the uint8 images (N, C, H, W) that the model decodes from float latents (N, K).

    The decoder runs in float64 on the CPU: what batch size, threads, vector width and library version change is then
    some 1e-16 of a value, far too little to move a pixel from one of its 256 levels to the next, and the same latents
    give the same pictures everywhere. Small batches that stay in the cache, channels last, are fastest.
    """
    exact = copy.deepcopy(model).cpu().double()  # in two steps: Apple GPUs know no float64
    exact.to(memory_format=torch.channels_last)
    found = torch.empty(len(latents), model.channels, model.size, model.size, dtype=torch.uint8)
    # Written in place: a small result kept between two batches would keep their memory from being used again.
    for own, part in zip(torch.split(found, batch_size), torch.split(latents.cpu().double(), batch_size), strict=True):
        own.copy_(im.to_uint8(exact.decode(part)))
    return found


@torch.enable_grad()
def refined(model: Autoencoder, images: Tensor, *, steps: int = 30, batch_size: int = 100) -> Tensor:
    """Return latents, float32 (N, K), from which the decoder comes nearer to the images than from the encoder's.

    They start as `codes` gives them and go down the gradient of each image's own error; the nearest of all steps is
    kept, the start among them. The decoder stays as it is, so this shows what a better encoder would gain; Cremer, Li
    and Duvenaud (Inference Suboptimality in Variational Autoencoders, 2018) call that the amortization gap.

    Parameters
    ----------
    model : Autoencoder
    images : Tensor
        uint8, (N, C, H, W).
    steps : int
        Of Adam; each costs about as much as a step of training.
    batch_size : int
        Images at a time; the result depends on it by rounding alone.
    """
    codec = copy.deepcopy(model).cpu().requires_grad_(False).to(memory_format=torch.channels_last)
    latents = codes(model, images)
    found = []
    for part, start in zip(torch.split(images, batch_size), torch.split(latents, batch_size), strict=True):
        x, best, least = im.to_float(part.cpu()), start, torch.full((len(part),), torch.inf)
        moved, scale = torch.zeros_like(start, requires_grad=True), start.square().mean(dim=1, keepdim=True).sqrt()
        optimizer = torch.optim.Adam([moved], lr=1.0)
        for step in range(steps + 1):
            optimizer.param_groups[0]["lr"] = 0.03 * 0.1 ** (step / max(1, steps - 1))
            z = start + scale * moved
            error = (codec.squash(codec.decode_logits(z)) - x).square().flatten(1).mean(dim=1)
            best = torch.where((error < least)[:, None], z, best).detach()
            least = torch.minimum(error, least).detach()
            (moved.grad,) = torch.autograd.grad((error + 1e-9).log().sum(), moved)
            optimizer.step()
        found.append(best)
    return torch.cat(found)


def reconstruct(model: Autoencoder, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """Send uint8 images (N, C, H, W) through the model and return uint8 images of the same shape."""
    return pictures(model, codes(model, images, batch_size=batch_size))


def build(architecture: str, latent_dim: int, *, channels: int = 3, size: int = 32, seed: int = 0) -> Autoencoder:
    """Return a fresh model in eval mode whose initial weights depend on `seed` alone.

    Parameters
    ----------
    architecture : {"conv", "dense", "residual", "ordered"}
        A key of `ARCHITECTURES`.
    latent_dim, channels, size : int
        As in `Autoencoder`.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"expected an architecture out of {tuple(ARCHITECTURES)}, got {architecture!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[architecture](latent_dim, channels, size).eval()
