"""The eight bytes that make the stream of a model self-contained: what wrote it, for which model, at which setting."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from aelib.models import Autoencoder
from aelib.quantise import Quantiser

VERSION = 1
_LAYOUT = struct.Struct(">2sBHBBB")  # magic, version, model, height, width, setting
SIZE = _LAYOUT.size
MAX_SIDE = 4096
_PICTURE = struct.Struct(">sBH3sB")  # magic, version, model, height - 1 and width - 1 in 12 bits each, quality


def model_id(model: Autoencoder, quantiser: Quantiser) -> int:
    """Return 16 bits that tell this model, its steps and its tables from others."""
    digest = hashlib.sha256(quantiser.steps.tobytes())
    for part in (quantiser.tables.lows, quantiser.tables.counts, quantiser.tables.frequencies):
        digest.update(part.astype("<i8").tobytes())
    for value in model.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return int.from_bytes(digest.digest()[:2], "big")


def pack(magic: bytes, model: int, side: int, setting: int) -> bytes:
    """Return the header of a stream for images of `side` x `side` pixels."""
    return _LAYOUT.pack(magic, VERSION, model, side, side, setting)


def unpack(stream: bytes, magic: bytes, model: int, side: int) -> int:
    """Return the setting that the header names, after checking all else.

    Raises
    ------
    ValueError
        The stream is too short, foreign, of another version, model or size.
    """
    height, width, setting = _checked(_LAYOUT, stream, magic, model)
    if (height, width) != (side, side):
        raise ValueError(f"expected images of {side}x{side}, got {height}x{width}")
    return int(setting)


def pack_picture(magic: bytes, model: int, height: int, width: int, quality: int) -> bytes:
    """Return the eight bytes of a picture of up to 4096x4096 pixels; the magic is one byte."""
    size = ((height - 1) * MAX_SIDE + width - 1).to_bytes(3, "big")
    return _PICTURE.pack(magic, VERSION, model, size, quality)


def unpack_picture(stream: bytes, magic: bytes, model: int) -> tuple[int, int, int]:
    """Return height, width and quality byte, after checking all else as `unpack` does."""
    size, quality = _checked(_PICTURE, stream, magic, model)
    height, width = divmod(int.from_bytes(size, "big"), MAX_SIDE)
    return height + 1, width + 1, quality


def _checked(layout: struct.Struct, stream: bytes, magic: bytes, model: int) -> tuple[Any, ...]:
    """Return what follows magic, version and model in the header of a stream that has the ones expected."""
    if len(stream) < layout.size:
        raise ValueError(f"expected a header of {layout.size} bytes, got a stream of {len(stream)}")
    own_magic, version, own_model, *rest = layout.unpack_from(stream)
    if own_magic != magic or version != VERSION:
        raise ValueError(f"expected a stream of {magic!r} version {VERSION}, got {own_magic!r} version {version}")
    if own_model != model:
        raise ValueError(f"expected a stream of model {model:04x}, got one of model {own_model:04x}")
    return tuple(rest)
