"""Checkpoints of a training: written whole or not at all, read with their checksums, refused where they do not fit."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from aelib import files, guards

Record = TypeVar("Record")
Part = Any  # a module or an optimizer: whatever has state_dict and load_state_dict


def digest(images: Tensor) -> str:
    """Return 16 hexadecimal digits that tell these images from others."""
    return hashlib.sha256(images.cpu().contiguous().numpy().data).hexdigest()[:16]


def save(
    file: Path, parts: Mapping[str, Part], origin: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> None:
    """Write the states of all parts, what the training began from, and its history, under a temporary name first."""
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**origin, **states, "history": list(history)}, buffer := io.BytesIO())
    files.write_whole(file, buffer.getvalue())


def read(file: Path, device: torch.device) -> dict[str, Any]:
    """Return what a checkpoint holds; on damaged and foreign files zipfile and torch raise many kinds of error."""
    with zipfile.ZipFile(file) as archive:  # torch.load does not look at the checksums
        guards.check_stored(archive, file.stat().st_size)
        if damaged := archive.testzip():
            raise ValueError(f"a wrong checksum of {damaged}")
    state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    return state


def restore(
    file: Path,
    parts: Mapping[str, Part],
    origin: Mapping[str, Any],
    record: Callable[..., Record],
    device: torch.device,
    defaults: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Load the states of all parts, of which "model" is one, and return the history, as records made of its entries.

    Settings that an older checkpoint does not name are taken from the defaults.

    Raises
    ------
    ValueError
        The file is damaged, foreign, of another network, or of another origin.
    """
    try:
        state = read(file, device)
        stored = {key: state[key] for key in origin}
        stored["settings"] = {**(defaults or {}), **stored["settings"]}
        history = [record(**entry) for entry in state["history"]]
        if stored == origin:
            for name, part in parts.items():
                part.load_state_dict(state[name])
    except Exception as error:  # BadZipFile and UnpicklingError among them
        raise ValueError(
            f"expected a checkpoint of this {type(parts['model']).__name__} by aelib.train.fit in {file}, "
            f"got {error!r}; delete the file to train from the start"
        ) from error
    if stored != origin:
        differing = {key: (origin[key], stored[key]) for key in origin if stored[key] != origin[key]}
        said = "; ".join(f"{key}: expected {own}, got {other}" for key, (own, other) in differing.items())
        raise ValueError(f"expected a checkpoint of the same settings and images in {file}, but {said}")
    return history
