"""The card that says what a set of weights is and reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Card:
    """What a reader should know of one set of weights; stored as JSON beside them.

    Attributes
    ----------
    name : str
        ``DATASET-ARCHITECTURE-K``.
    dataset, architecture : str
    latent_dim, channels, size : int
        Arguments of the architecture.
    parameters : int
        Number of trained values.
    test : dict
        Means over the full test set: ``mse`` on the [0, 1] scale, ``mean_psnr`` and ``pooled_psnr`` in dB, ``ssim``,
        the number of ``images``; ``mean_psnr_float32`` is that of the weights before they were rounded to float16.
    pca_mean_psnr : float
        Mean PSNR in dB of principal component analysis with K components, fitted on the same training images.
    recipe : dict
        The training settings and the command.
    history : dict
        ``train_loss`` and ``validation_loss`` per epoch.
    data_sha256 : dict
        Of the arrays that it was trained and tested on.
    versions : dict
        Of the packages and of Python.
    hardware : str
    seconds : float
        Wall-clock time of training.
    sha256, tables_sha256 : str
        Of the weight file, and of the file of the quantiser's steps and tables.
    """

    name: str
    dataset: str
    architecture: str
    latent_dim: int
    channels: int
    size: int
    parameters: int
    test: dict[str, float]
    pca_mean_psnr: float
    recipe: dict[str, Any]
    history: dict[str, list[float]]
    data_sha256: dict[str, str]
    versions: dict[str, str]
    hardware: str
    seconds: float
    sha256: str = ""
    tables_sha256: str = ""
