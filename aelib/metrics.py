"""Quality and rate, per image, on uint8 images and real bytes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import bjontegaard
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aelib import images as im

SSIM_SIGMA, SSIM_WINDOW = 1.5, 11


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
    # Whole numbers are exact, and fast; differences of uint8 would wrap. In place: 4096x4096 pixels take 200 MB here.
    squares = reference.to(torch.int32).sub_(other).square_().sum(dim=(1, 2, 3))
    return squares.to(torch.float64) / (255**2 * reference[0].numel())


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
    pairs = zip(torch.split(reference, 1000), torch.split(other, 1000), strict=True)
    return torch.cat([_ssim(a.to(torch.float64) / 255, b.to(torch.float64) / 255) for a, b in pairs])


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


@dataclass(frozen=True)
class Bjontegaard:
    """Two rate-distortion curves compared over the range of quality, or of rate, that both cover.

    Attributes
    ----------
    rate : float
        Mean difference in rate at equal quality, in per cent; negative where the second curve needs less.
    psnr : float
        Mean difference in quality at equal rate, in dB; positive where the second curve is better, NaN where the curves
        have no rate in common.
    low, high : float
        The interval of quality, in dB, that `rate` is a mean over.
    """

    rate: float
    psnr: float
    low: float
    high: float


def bjontegaard_delta(
    anchor: Sequence[tuple[float, float]],
    other: Sequence[tuple[float, float]],
    *,
    low: float = -math.inf,
    high: float = math.inf,
) -> Bjontegaard:
    """Compare the curve `other` with the curve `anchor`.

    Bjontegaard, Calculation of average PSNR differences between RD-curves (2001), with Akima interpolation, by the
    package bjontegaard.

    Parameters
    ----------
    anchor, other : sequence of (float, float)
        Points (bit per pixel, dB); quality rises with rate.
    low, high : float
        The curves are cut off here, in dB; the ends are interpolated, linearly in the logarithm of the rate.

    Raises
    ------
    ValueError
        Fewer than four points of a curve, or ranges of quality that do not overlap.
    """
    kept = [_clipped(sorted(curve), low, high) for curve in (anchor, other)]
    for curve in kept:
        if len(curve) < 4:
            raise ValueError(f"expected at least 4 points a curve from {low} to {high} dB, got {len(curve)}")
    bottom, top = max(curve[0][1] for curve in kept), min(curve[-1][1] for curve in kept)
    if bottom >= top:
        raise ValueError(f"expected curves that overlap in quality, got an overlap from {bottom:.2f} to {top:.2f} dB")
    columns = [values for curve in kept for values in zip(*curve, strict=True)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Curves do not overlap")  # in rate: then `psnr` is not a number
        rate, quality = (
            float(delta(*map(list, columns), method="akima", require_matching_points=False, min_overlap=0))
            for delta in (bjontegaard.bd_rate, bjontegaard.bd_psnr)
        )
    return Bjontegaard(rate, quality, bottom, top)


def _clipped(curve: list[tuple[float, float]], low: float, high: float) -> list[tuple[float, float]]:
    rates, quality = np.array(curve).T
    ends = [level for level in (low, high) if quality[0] < level < quality[-1] and level not in quality]
    cut = [(float(np.exp(np.interp(level, quality, np.log(rates)))), level) for level in ends]
    return sorted([point for point in curve if low <= point[1] <= high] + cut)


def convex_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (bit per pixel, dB) on the upper left hull: what the best mixture of settings reaches.

    >>> convex_hull([(1.0, 20.0), (2.0, 21.0), (3.0, 24.0), (4.0, 23.0)])
    [(1.0, 20.0), (3.0, 24.0)]
    """
    hull: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if hull and point[1] <= hull[-1][1]:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])


def _check_pair(reference: Tensor, other: Tensor) -> None:
    im.check(reference)
    im.check(other)
    if reference.shape != other.shape:
        raise ValueError(f"expected two sets of one shape, got {tuple(reference.shape)} and {tuple(other.shape)}")
