"""Latents at a fixed number of bits each, not entropy-coded: the plain way that the quantised codec is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aelib import images as im
from aelib import models
from aelib.codecs import header
from aelib.codecs.base import MAX_PIXELS, check_pixels
from aelib.quantise import QUALITIES, Quantiser, check_latents

MAGIC = b"AF"
_FLOATS: dict[int, str] = {32: "<f4", 16: "<f2"}


@dataclass(frozen=True)
class FixedLength:
    """The latents as float32, as float16, or in 1 to 8 bits each between the ends of what training images gave.

    Attributes
    ----------
    model : aelib.models.Autoencoder
    quantiser : Quantiser
        Its tables hold the ends.
    bits : int
        Per latent: 32 or 16 for floats, 1 to 8 for equal intervals.
    """

    model: models.Autoencoder
    quantiser: Quantiser
    bits: int

    def __post_init__(self) -> None:
        check_latents(self.model, self.quantiser)
        if self.bits not in (*range(1, 9), *_FLOATS):
            raise ValueError(f"expected 1 to 8, 16 or 32 bits per latent, got {self.bits!r}")

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"latents K={self.model.latent_dim} at {self.bits} bits"

    @cached_property
    def _model_id(self) -> int:
        return header.model_id(self.model, self.quantiser)

    @cached_property
    def _ends(self) -> npt.NDArray[np.float64]:
        """Lowest and highest latent of the training images, (2, K)."""
        tables = self.quantiser.at(QUALITIES[-1])
        return np.stack([tables.lows, tables.lows + tables.counts - 2]) * self.quantiser.steps

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) of the model's size into N streams of one length."""
        side = self.model.size
        im.check(images, channels=self.model.channels, size=(side, side))
        latents: npt.NDArray[Any] = models.codes(self.model, images).numpy()
        if self.bits in _FLOATS:
            rows = [row.tobytes() for row in latents.astype(_FLOATS[self.bits])]
        else:
            levels = np.rint((latents - self._ends[0]) / self._width * self._top).clip(0, self._top).astype(np.uint8)
            binary = np.unpackbits(levels[:, :, None], axis=2)[:, :, 8 - self.bits :]
            rows = [row.tobytes() for row in np.packbits(binary.reshape(len(levels), -1), axis=1)]
        start = header.pack(MAGIC, self._model_id, side, self.bits)
        return [start + row for row in rows]

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn N streams of this model into uint8 images (N, C, H, W), as `Codec.decode` says."""
        if not streams:
            raise ValueError("expected one or more streams, got none")
        check_pixels(self.model.size, self.model.size, max_pixels)
        latent_dim = self.model.latent_dim
        rows = np.frombuffer(b"".join(self.payload(stream) for stream in streams), np.uint8).reshape(len(streams), -1)
        if self.bits in _FLOATS:
            floats = torch.from_numpy(rows.copy().view(_FLOATS[self.bits]).astype(np.float64))
            return models.pictures(self.model, floats.nan_to_num(0.0).clamp(-1e6, 1e6))
        binary = np.unpackbits(rows, axis=1)[:, : latent_dim * self.bits].reshape(len(rows), latent_dim, self.bits)
        levels = binary @ (1 << np.arange(self.bits)[::-1])
        return models.pictures(self.model, torch.from_numpy(self._ends[0] + levels * self._width / self._top))

    def payload(self, stream: bytes) -> bytes:
        """Return the latents without the header."""
        bits = header.unpack(stream, MAGIC, self._model_id, self.model.size)
        expected = header.SIZE + -(-self.model.latent_dim * self.bits // 8)
        if bits != self.bits or len(stream) != expected:
            raise ValueError(f"expected {expected} bytes at {self.bits} bits, got {len(stream)} bytes at {bits} bits")
        return stream[header.SIZE :]

    @property
    def _top(self) -> int:
        return (1 << self.bits) - 1

    @property
    def _width(self) -> npt.NDArray[np.float64]:
        width: npt.NDArray[np.float64] = np.maximum(self._ends[1] - self._ends[0], 1e-12)
        return width
