"""The ruler: any codec and any images in, one point of rate and quality out, measured on bytes that were decoded."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, FiniteFloat
from torch import Tensor

from aelib import codecs, containers, curves, metrics, records, storage
from aelib import images as im
from aelib.codecs import Codec, PictureCodec
from aelib.records import Count, NotNegative, Positive

SCHEMA = 1
ACCOUNTINGS = ("file", "shared", "mosaic")
_CLASSICAL = {"jpeg": "JPEG", "webp": "WebP", "jpeg2000": "JPEG 2000", "avif": "AVIF", "jpegxl": "JPEG XL"}


@dataclass(frozen=True)
class Spread:
    """A mean over images and the standard deviation between them."""

    mean: FiniteFloat
    deviation: NotNegative


def _positive(rate: Spread) -> Spread:
    if rate.mean <= 0:
        raise ValueError(f"expected a rate above 0, got {rate.mean}")
    return rate


Rate = Annotated[Spread, AfterValidator(_positive)]  # in bit per pixel


@dataclass(frozen=True)
class Point:
    """What a codec at one setting does to a set of images.

    Attributes
    ----------
    codec : str
        Codec and settings.
    images, height, width : int
    rate_file, rate_shared : Spread
        Bit per pixel of the whole stream, and of its payload with one byte for the quality.
    rate_mosaic : float or None
        Bit per pixel of one file that holds all images (None if not measured); `psnr_mosaic` in dB is the mean PSNR of
        the images cut out of it again.
    mse : Spread
        On the scale where white is 1.
    psnr : Spread or None
        Mean PSNR in dB; None if all images came back without error. If only some did, these count as if one value were
        off by one level, the least that can be wrong: 83.0 dB for 3x32x32 values, 77.1 dB for 1x28x28.
    pooled_psnr : float or None
        PSNR in dB of the mean MSE.
    ssim : Spread or None
        None for images below 11x11 pixels.
    encode_seconds, decode_seconds : float
        Per image, wall clock.
    """

    codec: str
    images: Count
    height: Count
    width: Count
    rate_file: Rate
    rate_shared: Rate
    rate_mosaic: Positive | None
    psnr_mosaic: FiniteFloat | None
    mse: Spread
    psnr: Spread | None
    pooled_psnr: FiniteFloat | None
    ssim: Spread | None
    encode_seconds: NotNegative
    decode_seconds: NotNegative


def measure(codec: Codec, images: Tensor, *, mosaic: bool = False, batch_size: int = 1000) -> Point:
    """Encode, decode from the bytes alone, and compare.

    Parameters
    ----------
    codec : Codec
    images : Tensor
        uint8, (N, C, H, W), any size the codec takes.
    mosaic : bool
        Also measure one file of all images: for a picture format the square mosaic; for an autoencoder the payloads one
        after the other, each behind its length, with one header, and the pictures of the single streams.
    batch_size : int
        Images that are encoded and decoded at a time.
    """
    height, width = im.check(images).shape[2:]
    streams: list[bytes] = []
    decoded: list[Tensor] = []
    encode_seconds = decode_seconds = 0.0
    for part in torch.split(images, batch_size):
        start = time.perf_counter()
        own = codec.encode(part)
        middle = time.perf_counter()
        decoded.append(codec.decode(own, max_pixels=height * width))  # our own may be as large as they are
        encode_seconds += middle - start
        decode_seconds += time.perf_counter() - middle
        streams += own
    restored = torch.cat(decoded)
    payloads = codecs.paid(codec, streams, "shared")
    mse = metrics.mse(images, restored)
    psnr = metrics.psnr(images, restored)
    rate_mosaic, psnr_mosaic = _mosaic(codec, images, streams, psnr) if mosaic else (None, None)
    return Point(
        codec=codec.name,
        images=len(images),
        height=height,
        width=width,
        rate_file=_spread(metrics.bits_per_pixel(streams, height, width)),
        rate_shared=_spread(metrics.bits_per_pixel(payloads, height, width)),
        rate_mosaic=rate_mosaic,
        psnr_mosaic=psnr_mosaic,
        mse=_spread(mse),
        psnr=_spread(psnr.clamp(max=_ceiling(images))) if bool(mse.any()) else None,
        pooled_psnr=metrics.pooled_psnr(images, restored) if bool(mse.any()) else None,
        ssim=_spread(metrics.ssim(images, restored)) if min(height, width) >= metrics.SSIM_WINDOW else None,
        encode_seconds=encode_seconds / len(images),
        decode_seconds=decode_seconds / len(images),
    )


def _mosaic(codec: Codec, images: Tensor, streams: Sequence[bytes], psnr: Tensor) -> tuple[float, float | None]:
    """Return bit per pixel of one file of all images and the mean PSNR in dB of what comes out of it.

    `psnr`, (N,), is that of the single streams.
    """
    count, _, height, width = images.shape
    if isinstance(codec, PictureCodec):
        tiled = im.tile(images, columns=max(1, round(count**0.5)))
        (one,) = codec.encode(tiled.unsqueeze(0))
        restored = im.untile(codec.decode([one], max_pixels=tiled[0].numel())[0], (height, width))[:count]
        psnr = metrics.psnr(images, restored)
    else:
        payloads = [codec.payload(stream) for stream in streams]
        header = streams[0].removesuffix(payloads[0])
        one = header + containers.join(payloads)
        parts = containers.split(one[len(header) :], count)
        if [header + part for part in parts] != list(streams):  # then `psnr` is that of the one file too
            raise AssertionError(f"{codec.name}: the payloads in one file are not those of the single streams")
    mean = float(psnr.clamp(max=_ceiling(images)).mean()) if bool(torch.isfinite(psnr).any()) else None
    return float(metrics.bits_per_pixel([one], height, width)) / count, mean


def _ceiling(images: Tensor) -> float:
    """Return the PSNR in dB of an image that differs in one value by one level."""
    return 10 * math.log10(255**2 * images[0].numel())


def _spread(values: Tensor) -> Spread:
    return Spread(float(values.mean()), float(values.std(correction=0)))


def curve(points: Iterable[Point], accounting: str = "shared") -> list[tuple[float, float]]:
    """Return (bit per pixel, mean PSNR in dB) of lossy points by rising rate.

    Parameters
    ----------
    points : iterable of Point
    accounting : {"file", "shared", "mosaic"}
    """
    if accounting not in ACCOUNTINGS:
        raise ValueError(f"expected an accounting out of {ACCOUNTINGS}, got {accounting!r}")
    pairs = []
    for point in points:
        if accounting == "mosaic":
            pair = (point.rate_mosaic, point.psnr_mosaic)
        else:
            rate = point.rate_file if accounting == "file" else point.rate_shared
            pair = (rate.mean, point.psnr.mean if point.psnr else None)
        if pair[0] is not None and pair[1] is not None:
            pairs.append((pair[0], pair[1]))
    return sorted(pairs)


def hulls(results: Mapping[str, Sequence[Point]], accounting: str = "shared") -> dict[str, list[tuple[float, float]]]:
    """Return the convex hull of each codec over all its series: (bit per pixel, mean PSNR in dB) by rising rate.

    Every point on a line between two of them can be reached: code one share of the images at one setting, the rest at
    the other. The shipped autoencoders together are one codec, the learned codec is one for each effort.

    Parameters
    ----------
    results : mapping of str to sequence of Point
        As `read_folder` returns them.
    accounting : {"file", "shared", "mosaic"}
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for series, points in results.items():
        pairs.setdefault(codec_of(series), []).extend(curve(points, accounting) if series != "lossless" else ())
    return {codec: curves.convex_hull(found) for codec, found in sorted(pairs.items()) if found}


def codec_of(series: str) -> str:
    """Return the codec that a series counts for.

    >>> codec_of("jpeg-444-flat"), codec_of("residual-64"), codec_of("learned-slow")
    ('JPEG', 'autoencoder', 'learned codec, slow')
    """
    kind, _, effort = series.partition("-")
    if kind == "learned":
        return f"learned codec, {effort}" if effort else "learned codec"
    return _CLASSICAL.get(kind, "autoencoder")


def write(file: Path, points: Sequence[Point], about: dict[str, Any]) -> None:
    """Write points and what they were measured on as JSON, under a temporary name first."""
    content = {"schema": SCHEMA, **about, "points": [asdict(point) for point in points]}
    storage.write_whole(file, (json.dumps(content, indent=1) + "\n").encode())


def read(file: Path) -> tuple[list[Point], dict[str, Any]]:
    """Return the points of a JSON file written by `write`, and what it says about them.

    Raises
    ------
    ValueError
        The file is damaged or of another schema.
    """
    try:
        content = storage.read_json(file)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        if points := [records.made(Point, stored) for stored in content.pop("points")]:
            return points, content
        raise ValueError("no points")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected results of schema {SCHEMA} in {file}, got {error!r}") from error


def read_folder(folder: Path, dataset: str) -> dict[str, list[Point]]:
    """Return the points of all series of a data set that `make results` wrote to `folder`, by the series' name."""
    stored = sorted(folder.glob(f"{dataset}-*.json"))
    if not stored:
        raise ValueError(f"expected results of {dataset} in {folder}, got none; make results writes them")
    return {file.stem.removeprefix(f"{dataset}-"): read(file)[0] for file in stored}
