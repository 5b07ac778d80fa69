"""Pictures of any size through an autoencoder for images of one size: cut into blocks, all in one stream."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aelib import containers
from aelib import images as im
from aelib.codecs import header
from aelib.codecs.autoencoder import Autoencoder
from aelib.codecs.base import MAX_PIXELS, check_pixels

MAGIC = b"AB"
_SIZE = struct.Struct(">2sHH")  # magic, height, width
_HEADER = _SIZE.size + header.SIZE


@dataclass(frozen=True)
class Blocks:
    """A codec for pictures from 1x1 to 65,535x65,535 pixels.

    The picture is cut into squares of the model's size, those at the right and lower edge filled up with the last
    column and row. A stream is six bytes (magic, height, width), the header of the model's own streams, and the payload
    of every block behind its length.

    Attributes
    ----------
    codec : Autoencoder
        Codes one block.
    """

    codec: Autoencoder

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"{self.codec.name} by blocks"

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) with the model's channels into N streams."""
        height, width = im.check(images, channels=self.codec.model.channels).shape[2:]
        if max(height, width) > 0xFFFF:
            raise ValueError(f"expected at most 65535 rows and columns, got {height} and {width}")
        return [self._encode_one(image) for image in images]

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn N streams of this model into uint8 images (N, C, H, W), as `Codec.decode` says."""
        return im.stack([self._decode_one(stream, max_pixels) for stream in streams])

    def payload(self, stream: bytes) -> bytes:
        """Return the blocks, each behind its length."""
        return stream[_HEADER:]

    def _encode_one(self, image: Tensor) -> bytes:
        (height, width), side = image.shape[1:], self.codec.model.size
        rows, columns = (torch.arange(-(-length // side) * side).clamp(max=length - 1) for length in (height, width))
        streams = self.codec.encode(im.untile(image[:, rows][:, :, columns], (side, side)))
        payloads = [self.codec.payload(stream) for stream in streams]
        return _SIZE.pack(MAGIC, height, width) + streams[0][: header.SIZE] + containers.join(payloads)

    def _decode_one(self, stream: bytes, max_pixels: int) -> Tensor:
        if len(stream) < _HEADER:
            raise ValueError(f"expected a header of {_HEADER} bytes, got a stream of {len(stream)}")
        magic, height, width = _SIZE.unpack_from(stream)
        if magic != MAGIC:
            raise ValueError(f"expected a stream of {MAGIC!r}, got {magic!r}")
        check_pixels(height, width, max_pixels)
        side, start = self.codec.model.size, stream[_SIZE.size : _HEADER]
        columns = -(-width // side)
        payloads = containers.split(stream[_HEADER:], columns * -(-height // side))
        blocks = self.codec.decode([start + payload for payload in payloads])
        return im.tile(blocks, columns)[:, :height, :width]
