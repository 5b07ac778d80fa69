"""Rate-distortion curves: points (bit per pixel, dB) compared over an interval, at a rate, and where they cross."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import bjontegaard
import numpy as np


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
    low_rate, high_rate : float
        The interval of rate, in bit per pixel, that `psnr` is a mean over; not in order where there is none.
    """

    rate: float
    psnr: float
    low: float
    high: float
    low_rate: float
    high_rate: float


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
    return Bjontegaard(rate, quality, bottom, top, max(c[0][0] for c in kept), min(c[-1][0] for c in kept))


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


def psnr_at(points: Sequence[tuple[float, float]], rate: float) -> float | None:
    """Return the mean PSNR in dB that a hull reaches at `rate` bit per pixel; None left of its first point.

    Right of its last point a hull stays where it is: the rest of the bytes is left over.

    >>> psnr_at([(1.0, 20.0), (2.0, 24.0)], 1.5), psnr_at([(1.0, 20.0), (2.0, 24.0)], 0.9)
    (22.0, None)
    """
    rates, values = zip(*points, strict=True)
    return float(np.interp(rate, rates, values)) if rate >= rates[0] else None


def passed_at(own: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float | None:
    """Return the lowest rate, in bit per pixel, at which the hull `other` passes `own`; None if it never does.

    >>> passed_at([(1.0, 20.0), (2.0, 22.0)], [(1.0, 18.0), (3.0, 26.0)])
    2.0
    """
    rates = sorted(rate for rate in {rate for rate, _ in (*own, *other)} if rate >= max(own[0][0], other[0][0]))
    leads = [float(psnr_at(own, rate) or 0) - float(psnr_at(other, rate) or 0) for rate in rates]
    behind = next((index for index, lead in enumerate(leads) if lead < 0), None)
    if not behind:
        return None if behind is None else rates[0]
    lead, loss = leads[behind - 1 : behind + 1]
    return rates[behind - 1] + (rates[behind] - rates[behind - 1]) * lead / (lead - loss)
