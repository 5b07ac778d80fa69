"""The image convention, uint8 tensors of shape (N, C, H, W), and what turns them into floats, mosaics and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile, features
from torch import Tensor


def check(images: Tensor, *, channels: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """Return `images` unchanged if they keep the convention, else raise with what was expected and what came.

    Parameters
    ----------
    images : Tensor
        uint8, (N, C, H, W), N >= 1, C = 1 (grey) or 3 (RGB).
    channels, size : optional
        The number of channels and the (H, W) that the caller needs.

    Raises
    ------
    TypeError
        Not a tensor, or another dtype than uint8.
    ValueError
        Another shape.

    Examples
    --------
    >>> check(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)).shape
    torch.Size([2, 1, 4, 4])
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"expected images as a torch.uint8 tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8:
        raise TypeError(f"expected images of dtype torch.uint8, got {images.dtype}")
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        raise ValueError(f"expected images of shape (N, C, H, W) with N, H, W >= 1 and C = 1 or 3, got {shape}")
    if channels is not None and shape[1] != channels:
        raise ValueError(f"expected {channels} channels, got {shape[1]} in images of shape {shape}")
    if size is not None and shape[2:] != tuple(size):
        raise ValueError(f"expected images of {size[0]}x{size[1]} pixels, got {shape[2]}x{shape[3]}")
    return images


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], same shape.

    >>> to_float(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.to(torch.float32) / 255


def to_uint8(floats: Tensor) -> Tensor:
    """Turn floats in [0, 1] into uint8, same shape: clipped, then rounded to the nearest of 256 values.

    >>> to_uint8(torch.tensor([-0.2, 0.5, 1.7]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return (floats.clamp(0, 1) * 255).round().to(torch.uint8)


def binarise(images: Tensor) -> Tensor:
    """Set every value to 0 or 255, whichever is nearer; uint8, same shape.

    >>> binarise(torch.tensor([0, 127, 128], dtype=torch.uint8))
    tensor([  0,   0, 255], dtype=torch.uint8)
    """
    return (images >= 128).to(torch.uint8) * 255


def stack(pictures: Sequence[Tensor]) -> Tensor:
    """Join uint8 pictures (C, H, W) of one size to images (N, C, H, W)."""
    shapes = {tuple(picture.shape) for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"expected one or more pictures of one size, got sizes {sorted(shapes)}")
    return torch.stack(list(pictures))


def tile(images: Tensor, columns: int) -> Tensor:
    """Lay images out in one picture, row by row; cells without an image stay black.

    Parameters
    ----------
    images : Tensor
        uint8, (N, C, H, W).
    columns : int
        Images per row.

    Returns
    -------
    Tensor
        uint8, (C, ceil(N / columns) * H, columns * W).
    """
    count, channels, height, width = check(images).shape
    if columns < 1:
        raise ValueError(f"expected columns >= 1, got {columns}")
    rows = -(-count // columns)
    padded = images.new_zeros(rows * columns, channels, height, width)
    padded[:count] = images
    grid = padded.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, columns * width)


def untile(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut one picture (C, H, W) into its tiles, row by row: the inverse of `tile`.

    Parameters
    ----------
    picture : Tensor
        (C, rows * h, columns * w).
    size : tuple of int
        (h, w) of one tile; must divide the picture.

    Returns
    -------
    Tensor
        (rows * columns, C, h, w), same dtype.

    Examples
    --------
    >>> images = torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2)
    >>> torch.equal(untile(tile(images, columns=3), (2, 2)), images)
    True
    """
    h, w = size
    if picture.ndim != 3 or min(size) < 1 or picture.shape[1] % h or picture.shape[2] % w:
        raise ValueError(
            f"expected a picture (C, H, W) divisible into tiles of {h}x{w}, got the shape {tuple(picture.shape)}"
        )
    channels, height, width = picture.shape
    tiles = picture.reshape(channels, height // h, h, width // w, w).permute(1, 3, 0, 2, 4)
    return tiles.reshape(-1, channels, h, w)


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
                raise ValueError(f"expected at most {max_pixels} pixels, got {picture.width}x{picture.height}")
            grey = channels == 1 or (channels is None and picture.mode in ("1", "L", "LA"))
            array = np.array(picture.convert("L" if grey else "RGB"))
    # Pillow's decoders raise many kinds of error on broken bytes, SyntaxError and struct.error among them.
    except Exception as error:
        raise ValueError(
            f"expected a complete picture file, got {len(data)} bytes that do not decode: {error}"
        ) from error
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()
