"""What an encoder may look for beyond rounding: what an error in a latent costs, and latents that cost less."""

from __future__ import annotations

import torch
from torch import Tensor

from aelib import learned
from aelib.prior import LEVELS, annealed, hard, mixed, mixture


def sensitivity(model: learned.Model, images: Tensor, *, probes: int = 8) -> Tensor:
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
        pictures = model.pictures(z, shares)
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
    model: learned.Model,
    images: Tensor,
    y: Tensor,
    shares: Tensor,
    prices: Tensor,
    *,
    steps: int = 100,
    rate: float = 0.005,
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
