"""Files: pictures as uint8 tensors to bytes and back, and writing that leaves no half file."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features
from torch import Tensor

from aelib import avif, guards
from aelib.images import check

_STALE = 3600  # seconds
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


def read_picture(
    data: bytes, *, channels: int | None = None, file_format: str | None = None, max_pixels: int = 1 << 24
) -> Tensor:
    """Decode the bytes of a picture file.

    Parameters
    ----------
    data : bytes
        A whole file.
    file_format : str, optional
        Pillow's name of the only format allowed; by default any that Pillow reads.
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
        with Image.open(io.BytesIO(data), formats=[file_format] if file_format else None) as picture:
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
        The bytes are no complete picture, it is too large, a JPEG file has more scans than any encoder writes, or
        an AVIF file is a film.
    """
    if data.startswith(b"\xff\xd8"):
        guards.check_jpeg(data)
    try:
        if data[4:8] == b"ftyp":
            avif.check_photograph(data, max_side)
        if data[:2] in (b"II", b"MM"):
            guards.check_tiff(data, max_side)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the check that follows is stricter
            opened = Image.open(io.BytesIO(data), formats=_PHOTOGRAPHS)
        with opened:
            _check_side(opened, max_side)
            opened.load()
            _check_side(opened, max_side)  # a file may hold more than its head says
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # PNG and TIFF in 16 bits
                picture = Image.fromarray(_eight_bits(np.asarray(picture)))
            grey = picture.mode in ("1", "L", "LA")
            if picture.has_transparency_data:
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture.convert("RGBA"))
            array = np.array(picture.convert("L" if grey else "RGB"))
    except guards.Refused:
        raise
    except Exception as error:  # as in read_picture
        raise ValueError(_unreadable(data, error)) from error
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _eight_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return values of 16 bits, (H, W), divided by 257 and rounded, some rows at a time for the memory's sake."""
    rows = np.empty(values.shape, np.uint8)
    for at in range(0, len(values), 64):
        rows[at : at + 64] = (values[at : at + 64].astype(np.int32).clip(0, 65535) + 128) // 257
    return rows


def _check_side(picture: Image.Image, limit: int) -> None:
    if max(picture.size) > limit:
        raise guards.Refused(f"expected at most {limit}x{limit} pixels, got {picture.width}x{picture.height}")


def _unreadable(data: bytes, error: Exception) -> str:
    # Pillow's own words would name an address in memory.
    reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
    return f"expected a complete picture file, got {len(data)} bytes that do not decode: {reason}"


def read_json(file: Path) -> Any:
    """Return what a JSON file says; OSError if there is none, ValueError if it is damaged or nested too deeply."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"expected JSON of a few levels in {file}, got too many: {error}") from error


def sweep(file: Path) -> None:
    """Remove what killed runs left of a file under its temporary names, unless another run may still be at it."""
    for left in file.parent.glob(f"{glob.escape(file.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # another run was faster
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be written to a folder, or to the one in which it would be made; leaves nothing."""
    try:
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"expected a folder that can be written to, got {folder}: {error}") from error


def write_whole(file: Path, content: bytes, *, new: bool = False) -> None:
    """Write under a temporary name, then rename: a killed run leaves the old file, or none, but never half of one.

    Parameters
    ----------
    file : Path
    content : bytes
    new : bool
        Raise FileExistsError instead of replacing a file that is there; where the file system has links, however late
        it came.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    sweep(file)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_bytes(content)
        except OSError as error:
            error.filename = str(file)  # a disk that is full does not say of which file
            raise
        if not new:
            partial.replace(file)
            return
        try:
            os.link(partial, file)
        except FileExistsError:
            raise
        except OSError as error:  # a file system without links
            if file.exists():
                raise FileExistsError(f"expected no file {file}, got one") from error
            partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
