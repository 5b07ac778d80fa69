"""Picture formats that imagecodecs writes: JPEG 2000 and JPEG XL, both as raw codestreams."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aelib import containers, guards
from aelib.codecs.base import PictureCodec, check_pixels, check_range


@dataclass(frozen=True)
class Jpeg2000(PictureCodec):
    """A raw JPEG 2000 codestream, irreversible wavelet, by imagecodecs; `psnr` is the dB that the encoder aims at."""

    psnr: int

    def __post_init__(self) -> None:
        _imagecodecs()
        check_range("JPEG 2000 target PSNR", self.psnr, 1, 100)

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"JPEG 2000 {self.psnr} dB"

    def _write(self, image: Tensor) -> bytes:
        encode = _imagecodecs().jpeg2k_encode
        return bytes(encode(_interleaved(image), level=self.psnr, codecformat="j2k", reversible=False))

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        guards.check_jpeg2000(stream)
        return _decode(_imagecodecs().jpeg2k_decode, stream, containers.jpeg2000_size(stream), max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the packets."""
        return containers.jpeg2000_payload(stream)


@dataclass(frozen=True)
class JpegXl(PictureCodec):
    """A raw JPEG XL codestream by imagecodecs, effort 7; `distance` is libjxl's, 0.1 (best) to 25 (smallest)."""

    distance: float

    def __post_init__(self) -> None:
        _imagecodecs()
        if not 0.1 <= self.distance <= 25:
            raise ValueError(f"expected a JPEG XL distance from 0.1 to 25, got {self.distance!r}")

    @property
    def name(self) -> str:
        """The codec and its settings."""
        return f"JPEG XL d{self.distance:g}"

    def _write(self, image: Tensor) -> bytes:
        encode = _imagecodecs().jpegxl_encode
        options = {"effort": 7, "numthreads": 1, "usecontainer": False}
        return bytes(encode(_interleaved(image), distance=self.distance, **options))

    def _read(self, stream: bytes, max_pixels: int) -> Tensor:
        decoder = functools.partial(_imagecodecs().jpegxl_decode, index=0)  # of an animation, the first frame
        return _decode(decoder, stream, containers.jpegxl_size(stream), max_pixels)

    def payload(self, stream: bytes) -> bytes:
        """Return the whole codestream, which has no container."""
        return stream


def _imagecodecs() -> Any:
    if importlib.util.find_spec("imagecodecs") is None:
        raise ImportError("JPEG 2000 and JPEG XL need the package imagecodecs, which this platform lacks")
    import imagecodecs

    return imagecodecs


def _interleaved(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    array: np.ndarray[Any, np.dtype[np.uint8]] = image.permute(1, 2, 0).contiguous().numpy()
    return array if array.shape[2] == 3 else array[:, :, 0]


def _decode(decoder: Any, stream: bytes, size: tuple[int, int], max_pixels: int) -> Tensor:
    check_pixels(*size, max_pixels)
    try:
        array = decoder(stream)
    except Exception as error:  # the decoders' own exception types are many and lie in binary modules
        raise ValueError(f"expected a complete stream, got {len(stream)} bytes that do not decode: {error}") from error
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"expected 8-bit grey or RGB, got {array.dtype} of shape {array.shape}")
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()
