"""Data sets larger than memory: images in a file that is mapped, of which only what is looked at is read."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aelib import images as im
from aelib import storage


def write(file: Path, batches: Iterable[Tensor], count: int) -> None:
    """Write images to a ``.npy`` file, one batch after the other, under a temporary name first.

    Parameters
    ----------
    file : Path
    batches : iterable of Tensor
        uint8, (n, C, H, W) each, all of one size.
    count : int
        N, the images of all batches.

    Raises
    ------
    TypeError, ValueError
        A batch of another dtype or size, or more or fewer images; no file is written.
    OSError
        The disk is full or the folder refuses.
    """
    done, size = 0, torch.Size()
    with storage.whole(file) as partial, partial.open("wb") as stream:
        for batch in batches:
            im.check(batch, channels=size[0] if size else None, size=(size[1], size[2]) if size else None)
            if not size:
                size = batch.shape[1:]
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size)}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(batch.cpu().contiguous().numpy().data)
            done += len(batch)
        if done != count or not done:
            raise ValueError(f"expected {count} images, one or more, got {done}")


def read(file: Path) -> Tensor:
    """Return the images of a ``.npy`` file, uint8 (N, C, H, W), as `aelib.train.fit` takes them, without reading them.

    Whoever writes to the tensor ends the process: a mapping that may be written to counts as memory.

    Raises
    ------
    OSError
        There is no such file, or it is not to be read.
    ValueError
        It is no ``.npy`` file, is cut off, or holds something else than images.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "images.npy", torch.zeros(4, 2, 1, 8, 8, dtype=torch.uint8), 8)
    ...     read(Path(folder) / "images.npy").shape
    torch.Size([8, 1, 8, 8])
    """
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy raises many kinds of error on broken bytes, SyntaxError among them
        raise ValueError(f"expected a whole .npy file of uint8 images in {file}, got {error}") from error
    if array.dtype != np.uint8:
        raise ValueError(f"expected a whole .npy file of uint8 images in {file}, got one of {array.dtype}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is not to be written to
        return im.check(torch.from_numpy(array))
