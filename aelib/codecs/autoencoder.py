"""A pretrained bottleneck as a codec: quantise the latents, code them with integer tables, decode from the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from aelib import entropy, models
from aelib import images as im
from aelib.codecs import header
from aelib.codecs.base import MAX_PIXELS, check_pixels
from aelib.quantise import Quantiser, check_latents, check_quality

MAGIC = b"AE"


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder as a codec for images of its own size.

    A stream is eight bytes of header (magic, version, model, height, width, quality) and the range-coded symbols of
    the K quantised latents. `decode` gives the same pictures from the same bytes whatever the batch size, the number of
    threads and the platform: see `aelib.models.pictures`.

    Attributes
    ----------
    model : aelib.models.Autoencoder
    quantiser : Quantiser
        Steps and tables of this model.
    quality : int
        0 (smallest) to 7 (best).
    """

    model: models.Autoencoder
    quantiser: Quantiser
    quality: int = 7

    def __post_init__(self) -> None:
        check_quality(self.quality)
        check_latents(self.model, self.quantiser)

    @property
    def name(self) -> str:
        """The codec and its settings."""
        kind = type(self.model).__name__.removesuffix("Autoencoder").lower()
        return f"autoencoder {kind} K={self.model.latent_dim} q{self.quality}"

    @cached_property
    def _model_id(self) -> int:
        return header.model_id(self.model, self.quantiser)

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) of the model's size into N streams."""
        return self.encode_at(images, [self.quality])[0]

    def encode_at(self, images: Tensor, qualities: Sequence[int]) -> list[list[bytes]]:
        """Return for each of the qualities what `encode` would: N streams; the encoder sees the images once."""
        side, count = self.model.size, len(images)
        im.check(images, channels=self.model.channels, size=(side, side))
        latents = models.codes(self.model, images).repeat(len(qualities), 1)
        own = np.repeat(qualities, count)
        symbols = self.quantiser.symbols(latents, own)
        payloads = entropy.encode(symbols, self.quantiser.tables, self.quantiser.which(own))
        starts = [header.pack(MAGIC, self._model_id, side, quality) for quality in own.tolist()]
        streams = [start + payload for start, payload in zip(starts, payloads, strict=True)]
        return [streams[at : at + count] for at in range(0, len(streams), count)]

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = MAX_PIXELS) -> Tensor:
        """Turn N streams of this model, of any quality, into uint8 images (N, C, H, W), as `Codec.decode` says."""
        if not streams:
            raise ValueError("expected one or more streams, got none")
        check_pixels(self.model.size, self.model.size, max_pixels)
        qualities = np.array([self._check_header(stream) for stream in streams])
        which = self.quantiser.which(qualities)
        symbols = entropy.decode([stream[header.SIZE :] for stream in streams], self.quantiser.tables, which)
        return models.pictures(self.model, self.quantiser.latents(symbols, qualities))

    def payload(self, stream: bytes) -> bytes:
        """Return the range-coded symbols."""
        self._check_header(stream)
        return stream[header.SIZE :]

    def _check_header(self, stream: bytes) -> int:
        """Return the quality that the header names."""
        return check_quality(header.unpack(stream, MAGIC, self._model_id, self.model.size))
