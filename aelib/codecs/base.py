"""What every codec offers, and what those that write picture files share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from aelib import guards
from aelib import images as im

MAX_PIXELS = 1 << 20


class Codec(Protocol):
    """What every codec offers; a stream holds all that decoding needs, and its length is what is paid."""

    @property
    def name(self) -> str:
        """The codec and its settings, as tables and legends show them."""

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) into N streams."""

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn N streams of images of one size into uint8 images (N, C, H, W).

        Parameters
        ----------
        streams : sequence of bytes
        max_pixels : int
            Streams that claim a larger picture are refused before they are decoded, which keeps hostile ones within
            64 MiB; pass more for large pictures of your own.

        Raises
        ------
        ValueError
            There are no streams, or one is broken, foreign, too large, or of another size than the first.
        """

    def payload(self, stream: bytes) -> bytes:
        """Return the part of a stream that differs between images of one size at one quality."""


def paid(codec: Codec, streams: Sequence[bytes], accounting: str) -> list[bytes]:
    """Return of each stream what is paid for.

    Parameters
    ----------
    codec : Codec
    streams : sequence of bytes
    accounting : {"shared", "file"}
        With a shared header the payload and one byte for the quality are paid for, else the whole stream.
    """
    if accounting not in ("shared", "file"):
        raise ValueError(f"expected the accounting 'shared' or 'file', got {accounting!r}")
    return list(streams) if accounting == "file" else [codec.payload(stream) + b"q" for stream in streams]


class PictureCodec(ABC):
    """What the picture formats share: one file per image by `_write` and `_read`."""

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) into N files."""
        return [self._write(image) for image in im.check(images)]

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn N files into uint8 images (N, C, H, W), as `Codec.decode` says."""
        return im.stack([self._read(stream, max_pixels) for stream in streams])

    @abstractmethod
    def _write(self, image: Tensor) -> bytes: ...

    @abstractmethod
    def _read(self, stream: bytes, max_pixels: int) -> Tensor: ...


def check_range(what: str, got: object, low: int, high: int) -> None:
    """Raise ValueError unless `got` is a whole number from `low` to `high`."""
    if not isinstance(got, int) or not low <= got <= high:
        raise ValueError(f"expected a whole {what} from {low} to {high}, got {got!r}")


def check_pixels(height: int, width: int, most: int) -> None:
    """Raise ValueError, `guards.Refused`, unless a picture of this size has from one to `most` pixels."""
    if not 1 <= height * width <= most:
        raise guards.Refused(f"expected from 1 to {most} pixels, got {height}x{width}")


def check_channels(image: Tensor, expected: int) -> None:
    """Raise ValueError unless the picture (C, H, W) has the channels that the codec was made for."""
    if len(image) != expected:
        raise ValueError(f"expected {expected} channels, got {len(image)} in a picture of shape {tuple(image.shape)}")
