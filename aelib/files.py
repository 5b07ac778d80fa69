"""Picture files: uint8 tensors to bytes and back."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from aelib import avif, guards
from aelib.images import check

_ROWS = 64
_WIDE = ("I", "F")  # Pillow's, of values of 32 bits or with a sign, of which nobody says which one is white
_NOTES = 1 << 18  # bytes of a camera's notes, which Pillow reads one by one, in Python
_PHOTOGRAPHS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")  # none that starts another program


def write_picture(image: Tensor, file_format: str, **options: Any) -> bytes:
    """Return the bytes of a picture file.

    Parameters
    ----------
    image : Tensor
        uint8, (C, H, W), C = 1 or 3.
    file_format : str
        Pillow's name of the format: "PNG", "JPEG", "WEBP", ...
    **options
        Passed to Pillow's writer: ``quality``, ``lossless``, ...

    Returns
    -------
    bytes
        The whole file.

    Raises
    ------
    TypeError, ValueError
        Another dtype or shape, or a size that the format does not know.
    """
    check(image.unsqueeze(0))
    array = image.permute(1, 2, 0).contiguous().numpy()
    buffer, block = io.BytesIO(), ImageFile.MAXBLOCK
    # While libjpeg fits Huffman tables it cannot pause, so that the file must fit one block of Pillow's.
    ImageFile.MAXBLOCK = max(block, 2 * array.nbytes)
    try:
        Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0]).save(buffer, file_format, **options)
    except OSError as error:
        size = f"{array.shape[0]}x{array.shape[1]}"
        raise ValueError(f"expected a size that {file_format} knows, got {size} pixels: {error}") from error
    finally:
        ImageFile.MAXBLOCK = block
    return buffer.getvalue()


def require_format(feature: str) -> None:
    """Raise ImportError if this platform's Pillow was built without `feature`, such as "avif"."""
    if not features.check(feature):
        raise ImportError(f"expected a Pillow with {feature}, got version {features.version('pil')} built without it")


def read_picture(data: bytes, file_format: str, *, channels: int | None = None, max_pixels: int = 1 << 24) -> Tensor:
    """Decode the bytes of a picture file.

    Parameters
    ----------
    data : bytes
        A whole file.
    file_format : str
        Pillow's name of the only format allowed, for some that it reads start other programs.
    channels : int, optional
        1 converts to grey, 3 to RGB; by default grey files stay grey and all others become RGB.
    max_pixels : int
        Larger pictures are refused before they are decoded.

    Returns
    -------
    Tensor
        uint8, (C, H, W).

    Raises
    ------
    ValueError
        The bytes are no complete picture, or it is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[file_format]) as picture:
            if picture.width * picture.height > max_pixels:
                raise guards.Refused(f"expected at most {max_pixels} pixels, got {picture.width}x{picture.height}")
            grey = channels == 1 or (channels is None and picture.mode in ("1", "L", "LA"))
            array = np.array(picture.convert("L" if grey else "RGB"))
    except guards.Refused:
        raise
    # Pillow's decoders raise many kinds of error on broken bytes, SyntaxError and struct.error among them.
    except Exception as error:
        raise ValueError(_unreadable(data, error)) from error
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def read_photograph(data: bytes, *, max_side: int = 4096) -> Tensor:
    """Decode a picture file as a user hands it over, as the user would see it.

    The camera's note on rotation is heeded, transparent parts are laid on white, 16 bits a value become 8.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF file.
    max_side : int
        Pictures of more rows or columns are refused before they are decoded, whatever the file says of their size.

    Returns
    -------
    Tensor
        uint8, (C, H, W), C = 1 for grey files, else 3.

    Raises
    ------
    ValueError
        The bytes are no complete picture, it is too large, its values have 32 bits or a sign, or it would cost more
        than its size lets expect: a JPEG file of many scans, a large BMP file in runs, a film, a quarter of a
        mebibyte of a camera's notes.
    """
    try:
        if data[4:8] == b"ftyp":
            avif.check_photograph(data, max_side)
        if data[:4] == b"\x89PNG":
            data = guards.png_pixels(data, b"eXIf")
        if data[:2] in (b"II", b"MM"):
            guards.check_tiff(data, max_side)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, for which the checks here are stricter, and of broken tags
            with Image.open(io.BytesIO(data), formats=_PHOTOGRAPHS) as opened:
                _check_side(opened, max_side)
                if data[:2] == b"\xff\xd8":
                    guards.check_jpeg(data, opened.width * opened.height)
                if data[:2] == b"BM":
                    guards.check_bmp(data, opened.width * opened.height)
                if opened.mode in _WIDE:
                    raise guards.Refused(f"expected values of 8 bits, or of 16 without a sign, got mode {opened.mode}")
                opened.load()
                _check_side(opened, max_side)  # a file may hold more than its head says
                if (notes := len(opened.info.get("exif", b""))) > _NOTES:
                    raise guards.Refused(f"expected at most {_NOTES} bytes of notes by a camera, got {notes}")
                ImageOps.exif_transpose(opened, in_place=True)
                return _flat(opened)
    except guards.Refused:
        raise
    except Exception as error:  # as in read_picture
        raise ValueError(_unreadable(data, error)) from error


def _flat(picture: Image.Image) -> Tensor:
    """Return uint8 (C, H, W) of a picture on white, some rows at a time for the memory's sake."""
    grey, transparent = picture.mode in ("1", "L", "LA") or picture.mode.startswith("I"), picture.has_transparency_data
    flat = torch.empty(1 if grey else 3, picture.height, picture.width, dtype=torch.uint8)
    for top in range(0, picture.height, _ROWS):
        rows = picture.crop((0, top, picture.width, min(top + _ROWS, picture.height)))
        if picture.mode.startswith("I"):  # 16 bits, of PNG and TIFF
            rows = Image.fromarray(((np.asarray(rows).astype(np.int32) + 128) // 257).astype(np.uint8))
        elif transparent:
            rows = Image.alpha_composite(Image.new("RGBA", rows.size, "white"), rows.convert("RGBA"))
        values = torch.from_numpy(np.array(rows.convert("L" if grey else "RGB")))
        flat[:, top : top + _ROWS] = values.reshape(*values.shape[:2], -1).permute(2, 0, 1)
    return flat


def _check_side(picture: Image.Image, limit: int) -> None:
    if max(picture.size) > limit:
        raise guards.Refused(f"expected at most {limit}x{limit} pixels, got {picture.width}x{picture.height}")


def _unreadable(data: bytes, error: Exception) -> str:
    # Pillow's own words would name an address in memory.
    reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
    return f"expected a complete picture file, got {len(data)} bytes that do not decode: {reason}"
