"""A pretrained bottleneck as a codec: quantise the latents, code them with integer tables, decode from the bytes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from aelib import entropy, models
from aelib import images as im
from aelib.quantise import Quantiser, check_quality

MAGIC, VERSION = b"AE", 1
_HEADER = struct.Struct(">2sBHBBB")  # magic, version, model, height, width, quality: 8 bytes


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
        if len(self.quantiser.steps) != self.model.latent_dim:
            raise ValueError(
                f"expected a quantiser of {self.model.latent_dim} latents, got one of {len(self.quantiser.steps)}"
            )

    @property
    def name(self) -> str:
        """The codec and its settings."""
        kind = type(self.model).__name__.removesuffix("Autoencoder").lower()
        return f"autoencoder {kind} K={self.model.latent_dim} q{self.quality}"

    @cached_property
    def model_id(self) -> int:
        """Two bytes that tell this model and its tables from others."""
        digest = hashlib.sha256(self.quantiser.steps.tobytes())
        for value in self.model.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return int.from_bytes(digest.digest()[:2], "big")

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) of the model's size into N streams."""
        side = self.model.size
        im.check(images, channels=self.model.channels, size=(side, side))
        symbols = self.quantiser.symbols(models.codes(self.model, images), self.quality)
        header = _HEADER.pack(MAGIC, VERSION, self.model_id, side, side, self.quality)
        return [header + payload for payload in entropy.encode(symbols, self.quantiser.tables[self.quality])]

    def decode(self, streams: Sequence[bytes]) -> Tensor:
        """Turn N streams of this model, of any quality, into uint8 images (N, C, H, W).

        Raises
        ------
        ValueError
            A stream is foreign, of another version or model, or longer than any that `encode` writes.
        """
        if not streams:
            raise ValueError("expected one or more streams, got none")
        qualities = [self._check_header(stream) for stream in streams]
        pictures: dict[int, Tensor] = {}
        for quality in set(qualities):
            rows = [row for row, own in enumerate(qualities) if own == quality]
            symbols = entropy.decode([streams[row][_HEADER.size :] for row in rows], self.quantiser.tables[quality])
            decoded = models.pictures(self.model, self.quantiser.latents(symbols, quality))
            pictures.update(zip(rows, decoded, strict=True))
        return im.stack([pictures[row] for row in range(len(streams))])

    def payload(self, stream: bytes) -> bytes:
        """Return the range-coded symbols."""
        self._check_header(stream)
        return stream[_HEADER.size :]

    def _check_header(self, stream: bytes) -> int:
        """Return the quality that the header names."""
        if len(stream) < _HEADER.size:
            raise ValueError(f"expected a header of {_HEADER.size} bytes, got a stream of {len(stream)}")
        magic, version, model_id, height, width, quality = _HEADER.unpack_from(stream)
        if magic != MAGIC or version != VERSION:
            raise ValueError(f"expected a stream of {MAGIC!r} version {VERSION}, got {magic!r} version {version}")
        if model_id != self.model_id:
            raise ValueError(f"expected a stream of model {self.model_id:04x}, got one of model {model_id:04x}")
        if (height, width) != (self.model.size, self.model.size):
            raise ValueError(f"expected images of {self.model.size}x{self.model.size}, got {height}x{width}")
        return check_quality(quality)
