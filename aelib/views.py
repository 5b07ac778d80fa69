"""What the slider shows, as pure and cached functions: for one choice the pictures, the numbers and the words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from aelib import curves, files, metrics, plots, zoo
from aelib import images as im
from aelib.ladders import MIXED, jpegs, originals, sizes_and_rates
from aelib.quantise import QUALITIES

ERROR_GAIN = 4
LABELS = {
    **{"mnist": "MNIST", "cifar10": "CIFAR-10", "conv": "convolutional", "dense": "fully connected"},
    **{"residual": "residual", "ordered": "ordered"},
}


@dataclass(frozen=True)
class Choice:
    """What the controls say.

    Attributes
    ----------
    dataset, architecture, latent_dim
        Name the weights, as in `aelib.zoo.model_name`.
    quality : int
        0 (coarsest latents) to 7 (finest).
    group : str
        `MIXED` or a class of the data set.
    count : int
        Images side by side.
    """

    dataset: str = "cifar10"
    architecture: str = "conv"
    latent_dim: int = 2
    quality: int = QUALITIES[-1]
    group: str = MIXED
    count: int = 6


@dataclass(frozen=True)
class Coded:
    """What a codec made of N images.

    Attributes
    ----------
    pictures : Tensor
        What it decodes, uint8, (N, C, H, W).
    sizes, rates, psnr, ssim : Tensor
        Bytes paid for, bit per pixel, PSNR in dB and SSIM of each picture, (N,).
    """

    pictures: Tensor
    sizes: Tensor
    rates: Tensor
    psnr: Tensor
    ssim: Tensor

    @property
    def point(self) -> tuple[float, float]:
        """Mean bytes and mean PSNR in dB."""
        return float(self.sizes.double().mean()), float(self.psnr.mean())

    def summary(self) -> str:
        """Return the means in words."""
        (size, psnr), rate = self.point, float(self.rates.mean())
        ratio = metrics.compression_ratio(rate, self.pictures.shape[1])
        return f"{size:.1f} bytes ({rate:.3f} bpp, {ratio:,.1f} to 1), PSNR {psnr:.2f} dB, SSIM {self.ssim.mean():.3f}"


@dataclass(frozen=True)
class Row:
    """One row of pictures: its label, a note on it, a PNG of them side by side, and a short text under each."""

    label: str
    note: str
    png: bytes
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """All that is on screen for one choice, in words and in pictures."""

    title: str
    rows: tuple[Row, ...]
    caption: str


def coded(choice: Choice, accounting: str = "shared") -> Coded:
    """Return what the autoencoder decodes from its bytes, with their number in the accounting "shared" or "file"."""
    return _coded(choice)[accounting]


@lru_cache(maxsize=512)
def _coded(choice: Choice) -> dict[str, Coded]:
    name = zoo.model_name(choice.dataset, choice.architecture, choice.latent_dim)
    codec = zoo.shared_codec(name, choice.quality)
    images = originals(choice.dataset, choice.group, choice.count)
    streams = codec.encode(images)
    restored = codec.decode(streams)
    psnr, ssim = metrics.psnr(images, restored), metrics.ssim(images, restored)
    costs = {way: sizes_and_rates(codec, streams, way, images) for way in ("shared", "file")}
    return {way: Coded(restored, sizes, rates, psnr, ssim) for way, (sizes, rates) in costs.items()}


@lru_cache(maxsize=512)
def jpeg_beside(choice: Choice, accounting: str) -> Coded:
    """Return for each image the JPEG with the nearest number of bytes to the autoencoder's, the best of equals."""
    ladder = jpegs(choice.dataset, choice.group, choice.count)[accounting]
    distance = (ladder.sizes - coded(choice, accounting).sizes).abs()
    picks = (distance - ladder.psnr.clamp(max=99) / 100).argmin(0), torch.arange(choice.count)  # (N,), settings
    pictures = ladder.pictures[picks]
    ssim = metrics.ssim(originals(choice.dataset, choice.group, choice.count), pictures)
    return Coded(pictures, ladder.sizes[picks], ladder.rates[picks], ladder.psnr[picks], ssim)


@lru_cache(maxsize=512)
def render(choice: Choice) -> View:
    """Return what to show: originals, the autoencoder, JPEG at the nearest number of bytes, the error."""
    reference = originals(choice.dataset, choice.group, choice.count)
    own, own_file = coded(choice), coded(choice, "file")
    shared, whole = (jpeg_beside(choice, accounting) for accounting in ("shared", "file"))
    error = ((own.pictures.int() - reference.int()).abs() * ERROR_GAIN).clamp(max=255).to(torch.uint8)
    raw, size = reference[0].numel(), choice.latent_dim
    facts = zoo.card(name := zoo.model_name(choice.dataset, choice.architecture, size))
    title = f"{LABELS[choice.dataset]}, {LABELS[choice.architecture]} autoencoder, K = {size}"
    bits = 8 * (own.point[0] - 1) / size  # one byte tells the quality
    holder = zoo.holder(name)
    which = "" if holder == name else f", the first of {zoo.card(holder).latent_dim}"
    caption = (
        f"{title}{which}: with a shared header mean of {own.summary()}, "
        f"{bits:.2f} bits per latent (quality {choice.quality} of {QUALITIES[-1]}).\n"
        f"JPEG, shared header: {shared.summary()}.\n"
        f"JPEG, whole file: {whole.summary()}; the autoencoder's whole stream has {own_file.point[0]:.1f} bytes.\n"
        f"All {facts.test['images']:,} test images, float latents: PSNR {facts.test['mean_psnr']:.2f} dB; "
        f"PCA with K = {size}: {facts.pca_mean_psnr:.2f} dB."
    )
    rows = (
        Row("original", f"{raw:,} bytes", _strip(reference)),
        Row("autoencoder", f"K = {size}", _strip(own.pictures), _cells(own)),
        Row("JPEG", "nearest bytes, shared header", _strip(shared.pictures), _cells(shared)),
        Row("JPEG", "nearest bytes, whole file", _strip(whole.pictures), _cells(whole)),
        Row("error", f"of the autoencoder, times {ERROR_GAIN}", _strip(error)),
    )
    return View(title, rows, caption)


def _strip(pictures: Tensor) -> bytes:
    return files.write_picture(im.tile(pictures, columns=len(pictures)), "PNG")


def _cells(one: Coded) -> tuple[str, ...]:
    return tuple(f"{size} B, {psnr:.1f} dB" for size, psnr in zip(one.sizes.tolist(), one.psnr.tolist(), strict=True))


@lru_cache(maxsize=512)
def points(choice: Choice) -> dict[str, list[tuple[float, float]]]:
    """Return what the curves show of the images on screen, points (mean bytes, mean PSNR in dB)."""
    sizes = zoo.offered(choice.dataset, choice.architecture)
    ladders = jpegs(choice.dataset, choice.group, choice.count)
    return {
        "every K": [coded(replace(choice, latent_dim=size)).point for size in sizes],
        "every quality": _every_quality(replace(choice, quality=QUALITIES[-1])),
        "JPEG, shared header": curves.convex_hull(ladders["shared"].points),
        "JPEG, whole file": curves.convex_hull(ladders["file"].points),
    }


@lru_cache(maxsize=64)
def _every_quality(choice: Choice) -> list[tuple[float, float]]:
    """Return the points of `choice` at all qualities, decoded in one pass."""
    codec = zoo.shared_codec(zoo.model_name(choice.dataset, choice.architecture, choice.latent_dim))
    images = originals(choice.dataset, choice.group, choice.count)
    streams = [stream for own in codec.encode_at(images, QUALITIES) for stream in own]
    images = images.repeat(len(QUALITIES), 1, 1, 1)
    sizes, _ = sizes_and_rates(codec, streams, "shared", images)
    psnr = metrics.psnr(images, codec.decode(streams))
    means = (values.double().view(len(QUALITIES), -1).mean(1).tolist() for values in (sizes, psnr))
    return list(zip(*means, strict=True))


@lru_cache(maxsize=64)
def strip(choice: Choice) -> bytes:
    """Return a PNG of the originals and of what is decoded of them at every size offered, labelled."""
    rows = {"original": originals(choice.dataset, choice.group, choice.count)}
    for size in zoo.offered(choice.dataset, choice.architecture):
        one = coded(replace(choice, latent_dim=size))
        rows[f"K = {size}\n{one.point[0]:.0f} B\n{one.point[1]:.2f} dB"] = one.pictures
    title = f"{LABELS[choice.dataset]}, {LABELS[choice.architecture]} autoencoder\n"
    title += f"mean bytes with a shared header and mean PSNR\n{choice.count} images: {choice.group}"
    return plots.to_png(plots.picture_rows(rows, title=title, zoom=0.8)[0], dpi=110)
