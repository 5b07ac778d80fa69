"""The eight bytes that make the stream of a model self-contained: what wrote it, for which model, at which setting."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from aelib.models import Autoencoder
from aelib.quantise import Quantiser

VERSION = 1
_LAYOUT = struct.Struct(">2sBHBBB")  # magic, version, model, height, width, setting
SIZE = _LAYOUT.size


def model_id(model: Autoencoder, quantiser: Quantiser) -> int:
    """Return 16 bits that tell this model, its steps and its tables from others."""
    digest = hashlib.sha256(quantiser.steps.tobytes())
    tables = [table for tables in quantiser.tables for table in tables]
    numbers = np.concatenate([part for table in tables for part in ([table.low], table.frequencies)])
    digest.update(numbers.astype("<i8").tobytes())
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
    if len(stream) < SIZE:
        raise ValueError(f"expected a header of {SIZE} bytes, got a stream of {len(stream)}")
    own_magic, version, own_model, height, width, setting = _LAYOUT.unpack_from(stream)
    if own_magic != magic or version != VERSION:
        raise ValueError(f"expected a stream of {magic!r} version {VERSION}, got {own_magic!r} version {version}")
    if own_model != model:
        raise ValueError(f"expected a stream of model {model:04x}, got one of model {own_model:04x}")
    if (height, width) != (side, side):
        raise ValueError(f"expected images of {side}x{side}, got {height}x{width}")
    return int(setting)
