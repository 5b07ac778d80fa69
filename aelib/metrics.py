"""Quality and rate, per image, on uint8 images and real bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from aelib import images as im

SSIM_SIGMA, SSIM_WINDOW = 1.5, 11
PART_VALUES = 300_000


def mse(reference: Tensor, other: Tensor) -> Tensor:
    """Return the mean squared error per image, on the scale where white is 1.

    Parameters
    ----------
    reference, other : Tensor
        uint8, (N, C, H, W), of one shape.

    Returns
    -------
    Tensor
        float64, (N,), in [0, 1].

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape; both shapes are named.

    Examples
    --------
    >>> black, white = torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    >>> mse(black, white)
    tensor([1.], dtype=torch.float64)
    """
    _check_pair(reference, other)
    return torch.cat([_squares(a, b) for a, b in _parts(reference, other)]) / (255**2 * reference[0].numel())


def psnr(reference: Tensor, other: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio per image in dB; equal images give infinity.

    The mean over images of this number is the headline, called mean PSNR; compare `pooled_psnr`.

    Parameters
    ----------
    reference, other : Tensor
        uint8, (N, C, H, W), of one shape.

    Returns
    -------
    Tensor
        float64, (N,), in dB.
    """
    return -10 * torch.log10(mse(reference, other))


def pooled_psnr(reference: Tensor, other: Tensor) -> float:
    """Return the PSNR in dB of the mean squared error over all images; never above the mean PSNR."""
    return float(-10 * torch.log10(mse(reference, other).mean()))


def ssim(reference: Tensor, other: Tensor) -> Tensor:
    """Return the structural similarity per image.

    Wang et al., Image quality assessment: from error visibility to structural similarity (2004), section III: an
    11x11 Gaussian window of sigma 1.5 that stays inside the image, population covariances, mean over channels.
    scikit-image gives the same number with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=1.0``; here the window is a matrix that many images are multiplied with at once.

    Parameters
    ----------
    reference, other : Tensor
        uint8, (N, C, H, W), of one shape, H and W at least 11.

    Returns
    -------
    Tensor
        float64, (N,), in [-1, 1]; 1 for equal images.
    """
    _check_pair(reference, other)
    if min(reference.shape[2:]) < SSIM_WINDOW:
        got = tuple(reference.shape)
        raise ValueError(f"expected images of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {got}")
    return torch.cat([_ssim(a.to(torch.float64) / 255, b.to(torch.float64) / 255) for a, b in _parts(reference, other)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    rows, columns = (_window_matrix(length) for length in a.shape[2:])

    def blur(x: Tensor) -> Tensor:
        return rows @ x @ columns.T  # (N, C, H - 10, W - 10)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _window_matrix(length: int) -> Tensor:
    """Return the Gaussian window, slid along `length` pixels, as a matrix (length - 10, length)."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    room = length - SSIM_WINDOW
    return torch.stack([F.pad(window / window.sum(), (i, room - i)) for i in range(room + 1)])


def bits_per_pixel(streams: Sequence[bytes], height: int, width: int) -> Tensor:
    """Return the rate per image: eight times the bytes over the pixels; a pixel is one position, all channels.

    Parameters
    ----------
    streams : sequence of bytes
        One stream per image.
    height, width : int
        Size of every image in pixels.

    Returns
    -------
    Tensor
        float64, (N,), in bit per pixel.

    Examples
    --------
    >>> bits_per_pixel([bytes(128), bytes(64)], 32, 32)
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    if height < 1 or width < 1:
        raise ValueError(f"expected a height and a width of at least 1 pixel, got {height} and {width}")
    if not streams:
        raise ValueError("expected one or more streams, got none")
    if other := {type(stream).__name__ for stream in streams} - {"bytes"}:
        raise TypeError(f"expected streams of bytes, got {', '.join(sorted(other))}; floats have no rate")
    return torch.tensor([8 * len(stream) for stream in streams], dtype=torch.float64) / (height * width)


def compression_ratio(rate: float, channels: int) -> float:
    """Return how many times more bits plain values take, 8 each, than `rate` bit per pixel."""
    return 8 * channels / rate


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of squared differences in grey levels per image: whole numbers below 2**53, so exact."""
    return a.to(torch.float32).sub_(b).square_().flatten(1).sum(dim=1, dtype=torch.float64)


def _parts(reference: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both sets in parts small enough to stay in a processor's cache."""
    count = max(1, PART_VALUES // max(1, reference[0].numel()))
    return zip(torch.split(reference, count), torch.split(other, count), strict=True)


def _check_pair(reference: Tensor, other: Tensor) -> None:
    im.check(reference)
    im.check(other)
    if reference.shape != other.shape:
        raise ValueError(f"expected two sets of one shape, got {tuple(reference.shape)} and {tuple(other.shape)}")
