"""Files that are whole or not there: JSON read, writing that leaves no half file, folders that refuse."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STALE = 3600  # seconds
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}  # the last is not on Windows


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


@contextlib.contextmanager
def whole(file: Path, *, new: bool = False) -> Iterator[Path]:
    """Give a temporary name to write under, then rename: a killed run leaves the old file, or none, never half of one.

    Parameters
    ----------
    file : Path
        Its folder is made if there is none.
    new : bool
        Raise FileExistsError instead of replacing a file that is there; where the file system has links, however late
        it came.

    Raises
    ------
    OSError
        The disk is full or the folder refuses; it names `file`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    sweep(file)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        yield partial
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
    except OSError as error:
        if error.errno in _FULL or error.filename in (str(partial), partial):  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(file)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file under a temporary name first, as `whole` says."""
    with whole(file, new=new) as partial:
        partial.write_bytes(content)
