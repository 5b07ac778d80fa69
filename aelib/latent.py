"""Codes of a data set and their projections: principal components and t-SNE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from aelib import images as im


@dataclass(frozen=True)
class ImagePca:
    """Principal components of images: the best linear autoencoder, and so the line to beat at equal K.

    Attributes
    ----------
    mean : Tensor
        float32, (D,), D = C * H * W: the mean image on the [0, 1] scale.
    components : Tensor
        float32, (K, D), orthonormal rows, the largest variance first.
    shape : tuple of int
        (C, H, W).
    """

    mean: Tensor
    components: Tensor
    shape: tuple[int, int, int]

    def reconstruct(self, images: Tensor, latent_dim: int) -> Tensor:
        """Project uint8 images (N, C, H, W) on the first `latent_dim` components and back, to uint8.

        Zero components give the mean image.
        """
        if not 0 <= latent_dim <= len(self.components):
            raise ValueError(f"expected latent_dim from 0 to {len(self.components)}, got {latent_dim}")
        im.check(images, channels=self.shape[0], size=self.shape[1:])
        basis = self.components[:latent_dim]
        centred = im.to_float(images).flatten(1) - self.mean
        return im.to_uint8(centred @ basis.T @ basis + self.mean).reshape(images.shape)


def fit_image_pca(images: Tensor, latent_dim: int) -> ImagePca:
    """Return the first `latent_dim` principal components of uint8 images (N, C, H, W)."""
    im.check(images)
    flat = im.to_float(images).flatten(1).numpy()
    if not 1 <= latent_dim <= min(flat.shape):
        raise ValueError(f"expected latent_dim from 1 to {min(flat.shape)}, got {latent_dim}")
    fitted = PCA(latent_dim, svd_solver="covariance_eigh").fit(flat)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    return ImagePca(torch.from_numpy(fitted.mean_).float(), torch.from_numpy(fitted.components_).float(), shape)


def project_pca(codes: Tensor, dimensions: int = 2) -> tuple[Tensor, Tensor]:
    """Project codes on their principal components.

    Parameters
    ----------
    codes : Tensor
        float32, (N, K).
    dimensions : int
        How many components, at most K.

    Returns
    -------
    points : Tensor
        float32, (N, dimensions).
    explained : Tensor
        float32, (dimensions,): the share of the variance, in [0, 1], that each component explains.
    """
    _check(codes, dimensions)
    fitted = PCA(dimensions, svd_solver="full")
    points = fitted.fit_transform(codes.numpy())
    return torch.from_numpy(points).float(), torch.from_numpy(np.asarray(fitted.explained_variance_ratio_)).float()


def project_tsne(codes: Tensor, dimensions: int = 2, *, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """Embed codes (N, K) in 2 or 3 dimensions by t-SNE (van der Maaten and Hinton, 2008).

    Parameters
    ----------
    codes : Tensor
        float32, (N, K); some thousands at most, the time grows faster than N.
    dimensions : {2, 3}
    perplexity : float
        About how many neighbours each point should keep; must be below N.
    seed : int
        Together with the start from the principal components it makes the picture repeatable.

    Returns
    -------
    Tensor
        float32, (N, dimensions).
    """
    _check(codes, min(dimensions, codes.shape[-1]))
    if dimensions not in (2, 3):
        raise ValueError(f"expected 2 or 3 dimensions, got {dimensions}")
    if not 0 < perplexity < len(codes):
        raise ValueError(f"expected a perplexity between 0 and the {len(codes)} codes, got {perplexity}")
    start = "pca" if codes.shape[1] >= dimensions else "random"
    tsne = TSNE(dimensions, perplexity=perplexity, init=start, random_state=seed)
    return torch.from_numpy(tsne.fit_transform(codes.numpy())).float()


def neighbour_accuracy(
    codes: Tensor, labels: Tensor, test_codes: Tensor, test_labels: Tensor, *, neighbours: int = 10
) -> float:
    """Return the share of test codes whose nearest neighbours vote for the right class.

    Parameters
    ----------
    codes, test_codes : Tensor
        float32, (N, K) and (M, K); neighbours are looked up among the first.
    labels, test_labels : Tensor
        int64, (N,) and (M,).
    neighbours : int
        How many neighbours vote.

    Returns
    -------
    float
        In [0, 1]; chance is one over the number of classes.
    """
    _check(codes, 1)
    _check(test_codes, 1, least=1)
    if not 1 <= neighbours <= len(codes):
        raise ValueError(f"expected from 1 to {len(codes)} neighbours, got {neighbours}")
    classifier = KNeighborsClassifier(neighbours).fit(codes.numpy(), labels.numpy())
    return float(classifier.score(test_codes.numpy(), test_labels.numpy()))


def interpolate(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return `steps` codes (steps, K) on the straight line from `start` to `end`, both (K,), ends included.

    >>> interpolate(torch.zeros(2), torch.ones(2), 3)[1]
    tensor([0.5000, 0.5000])
    """
    if start.shape != end.shape or start.ndim != 1:
        raise ValueError(f"expected two codes of one shape (K,), got {tuple(start.shape)} and {tuple(end.shape)}")
    if steps < 2:
        raise ValueError(f"expected at least 2 steps, got {steps}")
    weights = torch.linspace(0, 1, steps).unsqueeze(1)
    return start * (1 - weights) + end * weights


def _check(codes: Tensor, dimensions: int, least: int = 2) -> None:
    if codes.ndim != 2 or not codes.is_floating_point() or len(codes) < least:
        raise ValueError(f"expected float codes of shape (N, K), N >= {least}, got {codes.dtype} {tuple(codes.shape)}")
    if not 1 <= dimensions <= codes.shape[1]:
        raise ValueError(f"expected from 1 to {codes.shape[1]} dimensions, got {dimensions}")
