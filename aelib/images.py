"""The image convention, uint8 tensors of shape (N, C, H, W), and what turns them into floats and mosaics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STRIP = 2048  # of blocks at a time, see `by_strips`


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


def padded(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of images (N, C, H, W) until H and W are multiples of a number.

    >>> padded(torch.tensor([[[[1, 2, 3]]]]), 2)[0, 0].tolist()
    [[1, 2, 3, 3], [1, 2, 3, 3]]
    """
    height, width = images.shape[2:]
    rows, columns = (torch.arange(-(-side // multiple) * multiple).clamp(max=side - 1) for side in (height, width))
    return images[:, :, rows][:, :, :, columns]


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


def by_strips(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    strides: tuple[int, ...],
    scale: int,
    margin: int,
    progress: Callable[[int, int], None],
) -> Tensor:
    """Apply a function to pictures strip by strip, which bounds its memory.

    Parameters
    ----------
    function : callable
        Takes a strip of each input and returns one of the result.
    inputs : tuple of Tensor
        (N, *, H, W) each, H as many blocks as in all others.
    strides : tuple of int
        Rows and columns of a block in each input.
    scale : int
        Rows of a block in the result.
    margin : int
        Blocks around a strip that have a say in it.
    progress : callable
        Gets the number of strips done and of all.
    """
    total, wide = (inputs[0].shape[axis] // strides[0] for axis in (2, 3))
    rows = max(1, 2 * margin, STRIP // wide)
    if total <= rows + 2 * margin:
        rows, margin = total, 0
    parts = []
    for first in range(0, total, rows):
        low, high = max(0, first - margin), min(total, first + rows + margin)
        pairs = zip(inputs, strides, strict=True)
        out = function(*(x[:, :, low * stride : high * stride] for x, stride in pairs))
        parts.append(out[:, :, (first - low) * scale : (min(total, first + rows) - low) * scale])
        progress(len(parts), -(-total // rows))
    return torch.cat(parts, dim=2)
