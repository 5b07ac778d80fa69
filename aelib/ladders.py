"""JPEG at every setting on the images that the slider shows, and what is paid for each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from aelib import codecs, data, metrics

MIXED = "mixed classes"  # not one of each: a row may be shorter than the list of classes


@dataclass(frozen=True)
class Ladder:
    """A codec at S settings on N images.

    Attributes
    ----------
    pictures : Tensor
        What it decodes, uint8, (S, N, C, H, W).
    sizes, rates, psnr : Tensor
        Bytes paid for, bit per pixel and PSNR in dB of each picture, (S, N).
    """

    pictures: Tensor
    sizes: Tensor
    rates: Tensor
    psnr: Tensor

    @property
    def points(self) -> list[tuple[float, float]]:
        """Mean bytes and mean PSNR in dB at each setting."""
        return list(zip(self.sizes.double().mean(1).tolist(), self.psnr.mean(1).tolist(), strict=True))


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


def sizes_and_rates(
    codec: codecs.Codec, streams: Sequence[bytes], accounting: str, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Return bytes and bit per pixel of each stream of uint8 images (N, C, H, W), both (N,).

    Parameters
    ----------
    codec : Codec
    streams : sequence of bytes
    accounting : {"shared", "file"}
        As in `aelib.codecs.paid`.
    images : Tensor
    """
    parts = codecs.paid(codec, streams, accounting)
    return torch.tensor([len(part) for part in parts]), metrics.bits_per_pixel(parts, *images.shape[2:])


@lru_cache(maxsize=2)
def _jpeg_settings(channels: int) -> list[tuple[int, str, bool]]:
    """Return quality, subsampling and flatness of all that differ: in files of one pixel, their tables do."""
    every = itertools.product(range(1, 96), ("4:4:4", "4:2:0"), (False, True))
    pixel = torch.zeros(1, channels, 1, 1, dtype=torch.uint8)
    return list({codecs.Jpeg(q, mode, flat=flat).encode(pixel)[0]: (q, mode, flat) for q, mode, flat in every}.values())


@lru_cache(maxsize=8)  # 6 MB each, of six photographs
def jpegs(dataset: str, group: str, count: int) -> dict[str, Ladder]:
    """Return JPEG at every quality, 4:4:4 and 4:2:0, with standard and flat tables, for "shared" and for "file".

    Huffman tables are fitted where they are paid for; the other choice meets a number of bytes only by being worse.
    """
    images, settings = originals(dataset, group, count), _jpeg_settings(_sample(dataset).images.shape[1])
    ladders: dict[str, Ladder] = {}
    for way in ("shared", "file"):
        made = [codecs.Jpeg(quality, mode, way == "file", flat) for quality, mode, flat in settings]
        streams = [codec.encode(images) for codec in made]
        costs = [sizes_and_rates(codec, own, way, images) for codec, own in zip(made, streams, strict=True)]
        sizes, rates = (torch.stack(column) for column in zip(*costs, strict=True))
        if not ladders:  # the pictures are the same with any Huffman tables
            pictures = torch.stack([codec.decode(own) for codec, own in zip(made, streams, strict=True)])
            psnr = torch.stack([metrics.psnr(images, restored) for restored in pictures])
        ladders[way] = Ladder(pictures, sizes, rates, psnr)
    return ladders
