"""Codecs: images in, one byte stream per image out, and back from the bytes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aelib import images as im


class Codec(Protocol):
    """What every codec offers; a stream holds all that decoding needs, and its length is what is paid."""

    @property
    def name(self) -> str:
        """The codec and its settings, as tables and legends show them."""

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) into N streams."""

    def decode(self, streams: Sequence[bytes]) -> Tensor:
        """Turn N streams into uint8 images (N, C, H, W); broken streams raise ValueError."""


@dataclass(frozen=True)
class Jpeg:
    """Baseline JPEG (ITU-T T.81) by Pillow, grey or RGB, any size up to 4096x4096.

    Attributes
    ----------
    quality : int
        1 (smallest) to 95 (best), as libjpeg scales its quantisation tables.
    subsampling : {"4:4:4", "4:2:0"}
        Whether colour keeps its full resolution or half of it in both directions; no effect on grey.
    optimize : bool
        Huffman tables fitted to the image instead of the standard ones.

    Examples
    --------
    >>> grey = torch.full((2, 1, 28, 28), 128, dtype=torch.uint8)
    >>> codec = Jpeg(50)
    >>> streams = codec.encode(grey)
    >>> bool((codec.decode(streams) == grey).all())
    True
    """

    quality: int
    subsampling: str = "4:4:4"
    optimize: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.quality, int) and 1 <= self.quality <= 95):
            raise ValueError(f"expected a whole JPEG quality from 1 to 95, got {self.quality!r}")
        if self.subsampling not in ("4:4:4", "4:2:0"):
            raise ValueError(f"expected subsampling 4:4:4 or 4:2:0, got {self.subsampling!r}")

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"JPEG {self.subsampling} q{self.quality}"

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) into N JPEG files."""
        im.check(images)
        options: dict[str, int | str] = {"quality": self.quality, "optimize": self.optimize}
        if images.shape[1] == 3:
            options["subsampling"] = self.subsampling
        return [im.write_picture(image, "JPEG", **options) for image in images]

    def decode(self, streams: Sequence[bytes]) -> Tensor:
        """Turn N JPEG files of images of one size into uint8 images (N, C, H, W)."""
        return _stack([im.read_picture(stream, file_format="JPEG") for stream in streams])


def _stack(decoded: list[Tensor]) -> Tensor:
    shapes = {tuple(image.shape) for image in decoded}
    if len(shapes) != 1:
        raise ValueError(f"expected one or more streams of images of one size, got sizes {sorted(shapes)}")
    return torch.stack(decoded)
