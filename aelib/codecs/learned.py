"""The codec that is trained for rate and distortion: pictures of any size, all qualities, streams for every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aelib import entropy, exact, learned, search
from aelib import images as im
from aelib.codecs import header, lanes
from aelib.codecs.base import check_pixels
from aelib.prior import LEVELS, mixed, mixture

MAGIC = b"L"
SAFE_PIXELS = 1 << 16  # what a stream of a few bytes may claim, for hostile ones to cost less than a second
EFFORTS = ("default", "slow", "best")
_BATCH = 1 << 18  # pixels at a time
_CAUTION = (16, 32, 64)  # times the error of one latent alone: many that shrink at once add up to more
Floats = npt.NDArray[np.float64]


class Quantised(NamedTuple):
    """The `latents` of streams in 16ths, their `symbols`, the `scales` these are coded with; int64 (N, K, h, w)."""

    latents: entropy.Int64
    symbols: entropy.Int64
    scales: entropy.Int64


@dataclass(frozen=True)
class Learned:
    """A trained model as a codec for pictures from 1x1 to 4096x4096 pixels.

    A stream is eight bytes of header (magic, version, model, height, width, quality) and the range-coded symbols. The
    symbols decoded are the encoder's own on every machine (see `aelib.exact`); so are the pictures, but for a few
    values that another order of summation may round to a neighbour.

    Attributes
    ----------
    model : aelib.learned.Model
        Transforms, and the float prior that `effort` "best" searches with.
    prior : aelib.exact.Integer
    sensitivity : Tensor
        (K,), see `aelib.search.sensitivity`; the searches go by it.
    quality : float
        0 (smallest) to 7 (best); the stream holds it in 255 parts.
    effort : {"default", "slow", "best"}
        "slow" moves symbols one nearer to 0 where that saves more bits than its error is worth, in a few ways, and
        keeps the cheapest of all; "best" moves the latents themselves as well. Decoding is the same.
    progress : callable
        Called with the stage of the work, how many of its parts are done, and of how many.
    """

    model: learned.Model = field(repr=False)
    prior: exact.Integer = field(repr=False)
    sensitivity: Tensor = field(repr=False)
    quality: float = 7.0
    effort: str = "default"
    progress: Callable[[str, int, int], None] = field(default=lambda stage, done, total: None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.quality, int | float) or not 0 <= self.quality <= LEVELS - 1:
            raise ValueError(f"expected a quality from 0 to {LEVELS - 1}, got {self.quality!r}")
        if self.effort not in EFFORTS:
            raise ValueError(f"expected an effort out of {EFFORTS}, got {self.effort!r}")

    @classmethod
    def of(cls, model: learned.Model, images: Tensor) -> Learned:
        """Return the codec of a trained model, as it will be loaded from disk.

        Parameters
        ----------
        model : Model
        images : Tensor
            uint8, (N, C, H, W), training images to measure the sensitivity on.
        """
        floats = im.to_float(im.padded(images, model.design.stride)).to(model.gain.device)
        trained = cls(model, exact.Integer.of(model.prior), search.sensitivity(model, floats).cpu())
        return cls.from_tensors(trained.tensors(), model.design)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], design: learned.Design, quality: float = 7.0) -> Learned:
        """Return the codec that `tensors` describes.

        Raises
        ------
        KeyError, RuntimeError, TypeError, ValueError
            Tensors are missing, or not those of a model of this design.
        """
        prior = exact.Integer.from_tensors(tensors)
        if design.latents != prior.channels:
            raise ValueError(f"expected a prior of {design.latents} channels, got one of {prior.channels}")
        model = learned.outline(design, len(tensors))
        floats = {f"prior.{name}": value for name, value in prior.floats().state_dict().items()}
        transforms = {name: tensors[name].float() for name in model.state_dict() if name not in floats}
        model.load_state_dict(floats | transforms, assign=True)
        model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        return cls(model, prior, tensors["sensitivity"], quality)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that `from_tensors` needs, the transforms in float16 and the prior in whole numbers."""
        state = self.model.state_dict()
        networks = {name: value.cpu().half() for name, value in state.items() if not name.startswith("prior.")}
        return {**networks, **self.prior.tensors(), "sensitivity": self.sensitivity}

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"learned q{self.quality:g}" + (f" {self.effort}" if self.effort != "default" else "")

    @cached_property
    def _model_id(self) -> int:
        """16 bits that tell this model from others."""
        parts = [value.contiguous().numpy().tobytes() for _, value in sorted(self.tensors().items())]
        return int.from_bytes(hashlib.sha256(b"".join(parts)).digest()[:2], "big")

    @property
    def _level(self) -> int:
        """The quality byte."""
        return round(self.quality * 255 / (LEVELS - 1))

    def encode(self, images: Tensor) -> list[bytes]:
        """Turn uint8 images (N, C, H, W) with the model's channels into N streams."""
        height, width = im.check(images, channels=self.model.design.channels).shape[2:]
        if max(height, width) > header.MAX_SIDE:
            raise ValueError(f"expected at most {header.MAX_SIDE} rows and columns, got {height} and {width}")
        start = header.pack_picture(MAGIC, self._model_id, height, width, self._level)
        streams: list[bytes] = []
        for part in torch.split(images, self._count(height, width)):
            found = self.quantise(part)
            streams += [start + payload for payload in lanes.write(self.prior, found.symbols, found.scales)]
        return streams

    def decode(self, streams: Sequence[bytes], *, max_pixels: int = SAFE_PIXELS) -> Tensor:
        """Turn N streams of this model, of any quality, into uint8 images (N, C, H, W), as `Codec.decode` says."""
        height, width, levels = self._check_headers(streams, max_pixels)
        pictures, count = [], self._count(height, width)
        for at in range(0, len(streams), count):
            own = levels[at : at + count]
            pictures.append(self._pictures(self._read(streams[at : at + count], own, height, width), own))
        return torch.cat(pictures)[:, :, :height, :width]

    def _count(self, height: int, width: int) -> int:
        """How many pictures to code at a time."""
        blocks = -(-height // (stride := self.model.design.stride)) * -(-width // stride)
        return max(1, _BATCH // (blocks * stride**2))

    def payload(self, stream: bytes) -> bytes:
        """Return the range-coded symbols."""
        self._check_headers([stream], header.MAX_SIDE**2)
        return stream[header.SIZE :]

    def latents(self, streams: Sequence[bytes], *, max_pixels: int = SAFE_PIXELS) -> entropy.Int64:
        """Return what `decode` makes pictures of: the latents, in 16ths of a step, int64 (N, K, h, w)."""
        height, width, levels = self._check_headers(streams, max_pixels)
        return self._read(streams, levels, height, width)

    def quantise(self, images: Tensor) -> Quantised:
        """Return what `encode` writes of uint8 images (N, C, H, W), all at once."""
        design = self.model.design
        stride, level = design.stride, np.full(len(images), self._level)
        x = im.to_float(im.padded(images, stride))
        shares = mixture(exact.qualities(level))
        with torch.no_grad():
            analyse, note = partial(self.model.analyse, shares=shares), partial(self.progress, "analysis")
            y = im.by_strips(analyse, (x,), (stride,), 1, design.margin, note)
        if self.effort == "default":
            return self._rounded(y, level)
        price = design.price(exact.qualities(level))
        steps = mixed(shares, self.model.restore).exp2() ** 2 * self.sensitivity[:, None, None]
        weights = (65025 / design.channels * price[:, None, None, None] * steps).double().numpy()
        starts = [y]
        if self.effort == "best":
            refine = partial(search.refined, self.model, shares=shares, prices=price)
            starts.append(im.by_strips(refine, (x, y), (stride, 1), 1, design.margin, partial(self.progress, "search")))
        ways = [None, *(weights * factor for factor in _CAUTION)]
        best = self._rounded(y, level)
        least = self._costs(images, best, level, price)
        for start, way in list(product(starts, ways))[1:]:
            found = self._rounded(start, level, way)
            costs = self._costs(images, found, level, price)
            for kept, own in zip(best, found, strict=True):
                kept[costs < least] = own[costs < least]
            least = np.minimum(least, costs)
        return best

    def _rounded(self, y: Tensor, levels: entropy.Int64, weights: Floats | None = None) -> Quantised:
        """Quantise latents; with `weights`, what the square of an error costs in bits, one step nearer 0 if cheaper."""
        exact_y = y.double().numpy()
        kept, expected = np.zeros(y.shape, np.int64), np.full(y.shape, exact.FILLING)

        def choose(own: slice, means: entropy.Int64, scales: entropy.Int64) -> entropy.Int64:
            residuals = exact_y[:, own] - means / (1 << exact.MEAN_BITS)
            symbols = np.rint(residuals).clip(-exact.SYMBOL, exact.SYMBOL).astype(np.int64)
            if weights is not None:
                nearer = symbols - np.sign(symbols)
                saved = self.prior.bits(symbols, scales) - self.prior.bits(nearer, scales)
                added = weights[:, own] * ((nearer - residuals) ** 2 - (symbols - residuals) ** 2)
                symbols = np.where(saved > added, nearer, symbols)
            for whole, part in ((kept, symbols), (expected, scales)):
                np.copyto(whole[:, own], part, where=scales != exact.FILLING)
            return symbols

        latents = self.prior.walk(levels, y.shape[2], y.shape[3], choose, partial(self.progress, "rounding"))
        return Quantised(latents, kept, expected)

    def _costs(self, images: Tensor, found: Quantised, levels: entropy.Int64, price: Tensor) -> Floats:
        """Return bits per pixel plus lambda * 255**2 * MSE, (N,), with the true bits and pictures."""
        bits = self.prior.bits(found.symbols, found.scales).sum(axis=(1, 2, 3))
        restored = self._pictures(found.latents, levels)[:, :, : images.shape[2], : images.shape[3]]
        pair = im.to_float(images), im.to_float(restored)
        costs: Floats = search.costs(*pair, torch.from_numpy(bits), price).numpy()
        return costs

    @torch.no_grad()
    def _pictures(self, latents: entropy.Int64, levels: entropy.Int64) -> Tensor:
        """Return the uint8 pictures (N, C, H, W) of latents, H and W multiples of the stride."""
        shares = mixture(exact.qualities(levels))
        z = torch.from_numpy(latents).float() / (1 << exact.MEAN_BITS)
        synthesise, note = partial(self.model.synthesise, shares=shares), partial(self.progress, "synthesis")
        design = self.model.design
        return im.to_uint8(im.by_strips(synthesise, (z,), (1,), design.stride, design.margin, note))

    def _read(self, streams: Sequence[bytes], levels: entropy.Int64, height: int, width: int) -> entropy.Int64:
        rows, columns = (-(-side // self.model.design.stride) for side in (height, width))
        reader = lanes.Reader(self.prior, [stream[header.SIZE :] for stream in streams], rows * columns)
        note = partial(self.progress, "reading")
        return self.prior.walk(levels, rows, columns, lambda own, means, scales: reader.read(scales), note)

    def _check_headers(self, streams: Sequence[bytes], max_pixels: int) -> tuple[int, int, entropy.Int64]:
        """Return height, width and quality bytes."""
        if not streams:
            raise ValueError("expected one or more streams, got none")
        found = [header.unpack_picture(stream, MAGIC, self._model_id) for stream in streams]
        sizes = {(height, width) for height, width, _ in found}
        for height, width in sizes:
            check_pixels(height, width, max_pixels)
        if len(sizes) > 1:
            raise ValueError(f"expected pictures of one size, got sizes {sorted(sizes)}")
        return *sizes.pop(), np.array([level for _, _, level in found])
