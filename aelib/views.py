"""What the slider shows, as pure and cached functions: for one choice the pictures, the numbers and the words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch
from torch import Tensor

from aelib import codecs, curves, data, entropy, files, metrics, models, plots, zoo
from aelib import images as im
from aelib.quantise import QUALITIES

ERROR_GAIN = 4
MIXED = "mixed classes"  # not one of each: a row may be shorter than the list of classes
LABELS = {
    **{"mnist": "MNIST", "cifar10": "CIFAR-10", "conv": "convolutional", "dense": "fully connected"},
    **{"residual": "residual", "ordered": "ordered"},
}


@dataclass(frozen=True)
class Choice:
    """What the controls say."""

    dataset: str = "cifar10"
    architecture: str = "conv"
    latent_dim: int = 2  # these three name the weights, as in `aelib.zoo.model_name`
    quality: int = QUALITIES[-1]  # 0 (coarsest latents) to 7 (finest)
    group: str = MIXED  # or a class of the data set
    count: int = 6  # images side by side


@dataclass(frozen=True)
class Coded:
    """What a codec made of images: pictures (N, C, H, W); bytes, bit per pixel, PSNR in dB and SSIM of each, (N,)."""

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
class Ladder:
    """A codec at S settings: pictures (S, N, C, H, W); bytes, bit per pixel and PSNR in dB of each, (S, N)."""

    pictures: Tensor
    sizes: Tensor
    rates: Tensor
    psnr: Tensor

    @property
    def points(self) -> list[tuple[float, float]]:
        """Mean bytes and mean PSNR in dB at each setting."""
        return list(zip(self.sizes.double().mean(1).tolist(), self.psnr.mean(1).tolist(), strict=True))


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


@lru_cache(maxsize=64)
def originals(dataset: str, group: str = MIXED, count: int = 6) -> Tensor:
    """Return test images, uint8 (count, C, H, W), from the bundled sample, the same with and without a download.

    `MIXED` takes one of each class in turn, and so shows as many classes as images, up to all ten.
    """
    images, labels, classes = (getattr(_sample(dataset), name) for name in ("images", "labels", "classes"))
    if group != MIXED and group not in classes:
        raise ValueError(f"expected {MIXED!r} or a class out of {classes}, got {group!r}")
    places = [(labels == index).nonzero().flatten() for index in range(len(classes))]
    order = torch.stack([own[:5] for own in places], 1).flatten() if group == MIXED else places[classes.index(group)]
    if not 1 <= count <= len(order):
        raise ValueError(f"expected 1 to {len(order)} images, got {count}")
    return torch.as_tensor(images[order[:count]])


@cache
def _sample(dataset: str) -> data.Dataset:
    return data.load(dataset, "test", source="sample")


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
    paid = {way: _paid(codec, streams, way, images) for way in ("shared", "file")}
    return {way: Coded(restored, sizes, rates, psnr, ssim) for way, (sizes, rates) in paid.items()}


def _paid(codec: codecs.Codec, streams: Sequence[bytes], accounting: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return bytes and bit per pixel of each stream; with a shared header the payload and one byte for the quality."""
    paid = list(streams) if accounting == "file" else [codec.payload(stream) + b"q" for stream in streams]
    height, width = images.shape[2:]
    return torch.tensor([len(stream) for stream in paid]), metrics.bits_per_pixel(paid, height, width)


@lru_cache(maxsize=2)
def _jpeg_settings(channels: int) -> list[tuple[int, str, bool]]:
    """Return quality, subsampling and flatness of all that differ: in files of one pixel, their tables do."""
    every = itertools.product(range(1, 96), ("4:4:4", "4:2:0"), (False, True))
    pixel = torch.zeros(1, channels, 1, 1, dtype=torch.uint8)
    return list({codecs.Jpeg(q, mode, flat=flat).encode(pixel)[0]: (q, mode, flat) for q, mode, flat in every}.values())


@lru_cache(maxsize=8)  # 6 MB each, of six photographs
def jpegs(dataset: str, group: str, count: int) -> dict[str, Ladder]:
    """Return JPEG at every quality, 4:4:4 and 4:2:0, with standard and flat tables, for each accounting.

    Huffman tables are fitted where they are paid for; the other choice meets a number of bytes only by being worse.
    """
    images, settings = originals(dataset, group, count), _jpeg_settings(_sample(dataset).images.shape[1])
    ladders: dict[str, Ladder] = {}
    for way in ("shared", "file"):
        made = [codecs.Jpeg(quality, mode, way == "file", flat) for quality, mode, flat in settings]
        streams = [codec.encode(images) for codec in made]
        paid = [_paid(codec, own, way, images) for codec, own in zip(made, streams, strict=True)]
        sizes, rates = (torch.stack(column) for column in zip(*paid, strict=True))
        if not ladders:  # the pictures are the same with any Huffman tables
            pictures = torch.stack([codec.decode(own) for codec, own in zip(made, streams, strict=True)])
            psnr = torch.stack([metrics.psnr(images, restored) for restored in pictures])
        ladders[way] = Ladder(pictures, sizes, rates, psnr)
    return ladders


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
    facts = zoo.card(zoo.model_name(choice.dataset, choice.architecture, size))
    title = f"{LABELS[choice.dataset]}, {LABELS[choice.architecture]} autoencoder, K = {size}"
    bits = 8 * (own.point[0] - 1) / size  # one byte tells the quality
    caption = (
        f"{title}: with a shared header mean of {own.summary()}, "
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
    sizes = zoo.sizes(choice.dataset, choice.architecture)
    ladders = jpegs(choice.dataset, choice.group, choice.count)
    return {
        "every K": [coded(replace(choice, latent_dim=size)).point for size in sizes],
        "every quality": _every_quality(replace(choice, quality=QUALITIES[-1])),
        "JPEG, shared header": curves.convex_hull(ladders["shared"].points),
        "JPEG, whole file": curves.convex_hull(ladders["file"].points),
    }


@lru_cache(maxsize=64)
def _every_quality(choice: Choice) -> list[tuple[float, float]]:
    """Return the points of `choice` at all qualities, decoded in one pass from the latents that the streams hold."""
    codec = zoo.shared_codec(zoo.model_name(choice.dataset, choice.architecture, choice.latent_dim))
    images, quantiser = originals(choice.dataset, choice.group, choice.count), codec.quantiser
    codes = models.codes(codec.model, images)
    symbols = [quantiser.symbols(codes, quality) for quality in QUALITIES]
    restored = models.pictures(codec.model, torch.cat([quantiser.latents(own, q) for q, own in enumerate(symbols)]))
    psnr = metrics.psnr(images.repeat(len(QUALITIES), 1, 1, 1), restored).view(len(QUALITIES), -1).mean(1)
    streams = [entropy.encode(own, quantiser.tables[quality]) for quality, own in enumerate(symbols)]
    sizes = [1 + sum(map(len, own)) / len(own) for own in streams]  # one byte tells the quality
    return list(zip(sizes, psnr.tolist(), strict=True))


@lru_cache(maxsize=64)
def strip(choice: Choice) -> bytes:
    """Return a PNG of the originals and of what is decoded of them at every shipped size, labelled."""
    rows = {"original": originals(choice.dataset, choice.group, choice.count)}
    for size in zoo.sizes(choice.dataset, choice.architecture):
        one = coded(replace(choice, latent_dim=size))
        rows[f"K = {size}\n{one.point[0]:.0f} B\n{one.point[1]:.2f} dB"] = one.pictures
    axes = plots.picture_rows(rows, zoom=0.8)
    axes[0].set_title(f"{LABELS[choice.dataset]}, {LABELS[choice.architecture]} autoencoder: {choice.group}")
    return plots.to_png(axes[0], dpi=110)
