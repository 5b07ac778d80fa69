"""Float latents to integers: one step per latent number, chosen so that every step costs the same in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aelib import entropy, metrics, models
from aelib import images as im

QUALITIES = range(8)
LOSS_DB = 0.06  # of mean PSNR at the best quality, on the training images that the step is chosen on


@dataclass(frozen=True)
class Quantiser:
    """Uniform steps and integer probability tables of one model.

    Attributes
    ----------
    steps : array of float64
        (K,): the step of each latent number at the best quality, 7; each quality less widens all by the root of two.
    tables : Tables
        8 K of them: for each quality 0 to 7, those of the K symbols.
    """

    steps: npt.NDArray[np.float64]
    tables: entropy.Tables

    def __post_init__(self) -> None:
        if not (np.isfinite(self.steps).all() and (self.steps > 0).all()):
            raise ValueError(f"expected finite steps above 0, got {self.steps}")
        if len(self.tables) != len(QUALITIES) * len(self.steps):
            raise ValueError(f"expected {len(QUALITIES)} tables for each of {len(self.steps)}, got {len(self.tables)}")

    def at(self, quality: int) -> entropy.Tables:
        """Return the K tables of one quality."""
        size, first = len(self.steps), check_quality(quality) * len(self.steps)
        return self.tables[first : first + size]

    def which(self, qualities: entropy.Int64) -> entropy.Int64:
        """Return which of the tables code the latents at qualities (N,), int64 (N, K)."""
        return qualities[:, None] * len(self.steps) + np.arange(len(self.steps))

    def symbols(self, latents: Tensor, quality: int | entropy.Int64) -> entropy.Int64:
        """Round latents, float (N, K), to symbols, int64 (N, K), at one quality or at those of each row, (N,)."""
        return _round(latents, _widened(self.steps, quality))

    def latents(self, symbols: entropy.Int64, quality: int | entropy.Int64) -> Tensor:
        """Return the latents, float64 (N, K), that symbols (N, K) stand for."""
        return torch.from_numpy(symbols * _widened(self.steps, quality))


def check_quality(quality: int) -> int:
    """Return `quality` if it is a whole number from 0 to 7, else raise ValueError."""
    if quality not in QUALITIES or not isinstance(quality, int):
        raise ValueError(f"expected a whole quality from {QUALITIES[0]} to {QUALITIES[-1]}, got {quality!r}")
    return quality


def check_latents(model: models.Autoencoder, quantiser: Quantiser) -> None:
    """Raise ValueError unless the quantiser is one for as many latents as the model has."""
    if len(quantiser.steps) != model.latent_dim:
        raise ValueError(f"expected a quantiser of {model.latent_dim} latents, got one of {len(quantiser.steps)}")


def fit(model: models.Autoencoder, images: Tensor, *, probes: int = 2000) -> Quantiser:
    """Choose steps and count symbols on training images.

    Quantising latent k with step d adds the variance d**2 / 12 times the mean squared derivative of the picture by
    that latent; steps inversely proportional to the root of the latter make all latents cost the same, which is
    the best division of bits at a high rate (Gersho and Gray, Vector Quantization and Signal Compression, 1992,
    chapter 8). One common factor is then searched for such that the mean PSNR falls by `LOSS_DB`.

    Parameters
    ----------
    model : Autoencoder
        On the CPU, in eval mode.
    images : Tensor
        uint8, (N, C, H, W), training images; the first `probes` of them choose the steps, all are counted.
    """
    if model.training:
        raise ValueError("expected a model in eval mode, got one in training mode")
    latents = models.codes(model, images)
    relative = 1 / _sensitivity(model, latents[:512]).sqrt().double().numpy()
    reference, floats = images[:probes], latents[:probes]
    goal = _mean_psnr(model, reference, floats) - LOSS_DB
    fine, coarse = 1e-3, 1e1  # times the sensitivity's unit; the picture's values lie in [0, 1]
    for _ in range(14):
        middle = float(np.sqrt(fine * coarse))
        steps = relative * middle
        rounded = torch.from_numpy(_round(floats, steps) * steps)
        if _mean_psnr(model, reference, rounded) >= goal:
            fine = middle
        else:
            coarse = middle
    steps = relative * fine
    tables = []
    for quality in QUALITIES:
        symbols = _round(latents, _widened(steps, quality))
        tables.append(entropy.fit_tables(symbols))
    return Quantiser(steps, entropy.Tables.joined(tables))


def _sensitivity(model: models.Autoencoder, latents: Tensor, *, probes: int = 8) -> Tensor:
    """Return the mean squared derivative, summed over all values of the picture, by each latent, (K,).

    The diagonal of the squared Jacobian is estimated with random signs (Hutchinson, 1990).
    """
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(latents.shape[1])
    for _ in range(probes):
        z = latents.clone().requires_grad_(True)
        pictures = model.decode(z)
        signs = torch.randint(0, 2, pictures.shape, generator=generator) * 2 - 1
        (gradient,) = torch.autograd.grad((pictures * signs).sum(), z)
        total += gradient.square().mean(dim=0)
    return (total / probes).clamp_min(1e-12)


def _mean_psnr(model: models.Autoencoder, images: Tensor, latents: Tensor) -> float:
    im.check(images)
    return float(metrics.psnr(images, models.pictures(model, latents)).mean())


def _widened(steps: npt.NDArray[np.float64], quality: int | entropy.Int64) -> npt.NDArray[np.float64]:
    """Return the steps (K,) at one quality, or (N, K) at those of N rows."""
    own = np.array([check_quality(one) for one in np.atleast_1d(quality).tolist()])
    widened: npt.NDArray[np.float64] = steps * 2.0 ** ((QUALITIES[-1] - own[:, None]) / 2)
    return widened


def _round(latents: Tensor, steps: npt.NDArray[np.float64]) -> entropy.Int64:
    symbols: entropy.Int64 = np.rint(latents.double().numpy() / steps).astype(np.int64)
    return symbols
