"""A picture of the user's own through a pretrained model, block by block, beside JPEG at the nearest bytes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from aelib import codecs, files, metrics, plots, zoo
from aelib import images as im
from aelib.views import LABELS, Row, View

PREVIEW = 480  # pixels of the longer side
JPEG_PIXELS = 1 << 19  # of larger pictures only one kind of JPEG file is tried, or it would take seconds
SSIM_PIXELS = 1 << 20  # SSIM multiplies by matrices of the picture's sides, so its cost grows with their cube
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Matched:
    """One codec's version of a picture (C, H, W): what it is called, its stream, and what came back from it."""

    label: str
    stream: bytes
    picture: Tensor

    @property
    def size(self) -> int:
        """Bytes of the whole stream."""
        return len(self.stream)


def with_channels(picture: Tensor, channels: int) -> Tensor:
    """Return a picture, uint8 (C, H, W), grey or RGB, with the number of channels that a model takes."""
    if channels == 1 and len(picture) == 3:
        grey = torch.zeros(1, *picture.shape[1:])
        for weight, plane in zip(_GREY, picture, strict=True):
            grey += weight * plane
        return grey.round().to(torch.uint8)
    return picture.expand(channels, -1, -1)


def by_blocks(picture: Tensor, name: str, quality: int) -> Matched:
    """Send a picture (C, H, W) through the weights `name`, cut into blocks of the model's size."""
    codec = codecs.Blocks(zoo.shared_codec(name, quality))
    (stream,) = codec.encode(picture[None])
    (restored,) = codec.decode([stream], max_pixels=picture[0].numel())
    card = zoo.card(name)
    return Matched(f"{LABELS[card.architecture]}, K = {card.latent_dim}", stream, restored)


def jpeg_at(picture: Tensor, size: int) -> Matched:
    """Return the JPEG file, with fitted Huffman tables, whose number of bytes is nearest to `size`, by bisection.

    Of large pictures only files with 4:2:0 and standard quantisation tables are tried: see `JPEG_PIXELS`.
    """
    found: dict[codecs.Jpeg, bytes] = {}
    for mode, flat in _variants(picture):
        low, high = 1, 95
        while low <= high:
            middle = (low + high) // 2
            codec = codecs.Jpeg(middle, mode, flat=flat)
            (found[codec],) = codec.encode(picture[None])
            low, high = (middle + 1, high) if len(found[codec]) < size else (low, middle - 1)
    codec = min(found, key=lambda tried: abs(len(found[tried]) - size))
    (restored,) = codec.decode([found[codec]], max_pixels=picture[0].numel())
    label = f"JPEG {codec.subsampling}{' flat' if codec.flat else ''}, quality {codec.quality}"
    return Matched(label, found[codec], restored)


def _variants(picture: Tensor) -> tuple[tuple[str, bool], ...]:
    """Return subsampling and flatness of the JPEG files to try."""
    every = (("4:2:0", False), ("4:2:0", True), ("4:4:4", False), ("4:4:4", True))
    return every[:1] if picture[0].numel() > JPEG_PIXELS else every[: 2 * min(len(picture), 2)]


def compare(picture: Tensor, name: str, quality: int) -> View:
    """Return what to show of a picture: original, autoencoder, JPEG as the whole file nearest in bytes.

    Parameters
    ----------
    picture : Tensor
        uint8, (C, H, W), with the model's channels.
    name : str
        Pretrained weights.
    quality : int
        0 (coarsest latents) to 7 (finest).
    """
    own = by_blocks(picture, name, quality)
    other = jpeg_at(picture, own.size)
    height, width = picture.shape[1:]
    lines = [f"Your picture, {width} x {height} pixels, {picture.numel():,} bytes as plain values. Whole files:"]
    rows = [Row("original", "", _preview(picture))]
    for one in (own, other):
        rate = float(metrics.bits_per_pixel([one.stream], height, width))
        figures = f"{one.size:,} bytes ({rate:.3f} bpp), {_quality(picture, one.picture)}"
        lines.append(f"{one.label}: {figures}.")
        rows.append(Row(one.label, f"{one.size:,} bytes", _preview(one.picture)))
    if not 0.9 <= other.size / own.size <= 1.1:
        large = len(_variants(picture)) == 1
        tried = "4:2:0 with standard tables" if large else "4:4:4 and 4:2:0 with standard and flat tables"
        lines.append(
            "No JPEG file of this picture comes nearer to the autoencoder's number of bytes; "
            f"tried were {tried}, qualities 1 to 95."
        )
    return View("Your picture", tuple(rows), "\n".join(lines))


def centred(digit: Tensor) -> Tensor:
    """Return a drawn digit (1, 28, 28) with its centre of mass in the middle, as the digits of MNIST have it."""
    weight = digit[0].double()
    if not weight.any():
        return digit
    steps = torch.arange(28.0, dtype=torch.float64)
    shifts = []
    for profile in (weight.sum(1), weight.sum(0)):
        wanted = round(14 - float((profile * steps).sum() / profile.sum()))
        inked = profile.nonzero().flatten().tolist()
        shifts.append(min(max(wanted, -inked[0]), 27 - inked[-1]))  # nothing leaves at one edge to enter at the other
    return torch.roll(digit, shifts, dims=(1, 2))


def through_every_size(digit: Tensor) -> View:
    """Return a digit (1, 28, 28) and what MNIST's convolutional models decode from their bytes of it, at every K."""
    sizes = zoo.sizes("mnist", "conv")
    restored, cells = [], []
    for size in sizes:
        codec = zoo.shared_codec(zoo.model_name("mnist", "conv", size))
        (stream,) = codec.encode(digit[None])
        restored.append(codec.decode([stream]))
        psnr = float(metrics.psnr(digit[None], restored[-1]))
        length = len(codecs.paid(codec, [stream], "shared")[0])
        cells.append(f"K = {size}: {length} B, {psnr:.1f} dB")
    pictures = torch.cat(restored)
    repeated = digit.expand(len(sizes), 1, -1, -1)
    rows = (
        Row("digit", f"{digit.numel()} bytes", files.write_picture(im.tile(repeated, len(sizes)), "PNG")),
        Row("autoencoder", "every K", files.write_picture(im.tile(pictures, len(sizes)), "PNG"), tuple(cells)),
    )
    words = "Your digit through every bottleneck, bytes with a shared header:\n" + "; ".join(cells)
    return View("Your digit", rows, words)


def still(view: View) -> bytes:
    """Return a PNG of the pictures of `compare` side by side, labelled."""
    pictures = im.stack([files.read_picture(row.png, "PNG") for row in view.rows])
    captions = ["\n".join(filter(None, (row.label, row.note))) for row in view.rows]
    gap = -(-pictures.shape[3] // 50)  # of white, or one could not tell where one picture ends
    rows = {"": F.pad(pictures, (gap, gap), value=255)}
    return _drawn(rows, captions, f"{view.title}: bytes of whole files", zoom=2.0)


def digits_still(view: View) -> bytes:
    """Return a PNG of the digits of `through_every_size`, labelled."""
    rows = {row.label: im.untile(files.read_picture(row.png, "PNG"), (28, 28)) for row in view.rows}
    captions = [cell.replace(", ", "\n") for cell in view.rows[-1].cells]
    return _drawn(rows, captions, f"{view.title}: bytes with a shared header, PSNR", zoom=1.0)


def _drawn(rows: dict[str, Tensor], captions: list[str], title: str, zoom: float) -> bytes:
    axes = plots.picture_rows(rows, captions=captions, title=title, zoom=zoom)
    return plots.to_png(axes[0], dpi=110)


def _quality(reference: Tensor, picture: Tensor) -> str:
    psnr = f"PSNR {float(metrics.psnr(reference[None], picture[None])):.2f} dB"
    if min(reference.shape[1:]) < metrics.SSIM_WINDOW or reference[0].numel() > SSIM_PIXELS:
        return psnr
    return f"{psnr}, SSIM {float(metrics.ssim(reference[None], picture[None])):.3f}"


def _preview(picture: Tensor) -> bytes:
    """Return a PNG of the picture, made smaller if it is larger than the preview."""
    factor = PREVIEW / max(picture.shape[1:])
    if factor < 1:
        size = [max(1, round(length * factor)) for length in picture.shape[1:]]
        picture = im.to_uint8(F.interpolate(im.to_float(picture[None]), size, mode="area"))[0]
    return files.write_picture(picture, "PNG")
