"""Checkpoints of a training: written whole or not at all, read with their checksums, refused where they do not fit."""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from aelib import guards, records, storage

Record = TypeVar("Record")
_BY_DEVICE = {"lr", "capturable", "fused"}  # options of an optimizer that differ from device to device
# What a tensor is made of. PyTorch allows more, a bytearray of any length among it.
_NAMES = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w+Storage")
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
    storage.write_whole(file, buffer.getvalue())


def read(file: Path, device: torch.device) -> dict[str, Any]:
    """Return what a checkpoint holds; on damaged and foreign files zipfile and torch raise many kinds of error."""
    content = file.read_bytes()
    # zipfile looks for an archive at the end of a file, torch.load at its beginning, and not at the checksums.
    if content[:4] != b"PK\3\4":
        raise ValueError(f"expected a zip archive, got a file that begins with {content[:4]!r}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        guards.check_stored(archive, len(content))
        if damaged := archive.testzip():
            raise ValueError(f"a wrong checksum of {damaged}")
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                _check_names(archive.read(name))
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state


def _check_names(pickled: bytes) -> None:
    """Refuse a pickle that names anything but what tensors are made of."""
    for step, said, _ in pickletools.genops(pickled):
        if "GLOBAL" in step.name and not _NAMES.fullmatch(str(said)):
            raise ValueError(f"expected tensors, numbers and text, got a pickle that names {said}")


def restore(
    file: Path,
    parts: Mapping[str, Part],
    origin: Mapping[str, Any],
    record: type[Record],
    device: torch.device,
    *,
    possible: Callable[[list[Record]], bool],
    defaults: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Load the states of all parts, of which "model" is one, and return the history, as records made of its entries.

    Settings that an older checkpoint does not name are taken from the defaults.

    Raises
    ------
    ValueError
        The file is damaged, foreign, of another network, or of another origin, or its history is not a possible one.
    """
    try:
        state = read(file, device)
        stored = {key: state[key] for key in origin}
        stored["settings"] = {**(defaults or {}), **stored["settings"]}
        history = [records.made(record, entry) for entry in state["history"]]
        if stored == origin:
            if not possible(history):
                raise ValueError(f"a history of {len(history)} entries that the training does not have")
            for name, part in parts.items():
                part.load_state_dict(
                    _fitting(part, state[name]) if isinstance(part, torch.optim.Optimizer) else state[name]
                )
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


def _fitting(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state if its options are the optimizer's own and its tensors have the parameters' shapes.

    `load_state_dict` takes any.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [{**mine, **stored} for mine, stored in zip(own, state["param_groups"], strict=True)]
    for mine, stored in zip(own, groups, strict=True):
        if differing := {
            key for key in stored if key not in _BY_DEVICE and (key not in mine or mine[key] != stored[key])
        }:
            raise ValueError(f"other options of the optimizer: {', '.join(sorted(differing))}")
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state["state"].items():
        for name, value in values.items():
            if value.shape not in (torch.Size([]), shapes[index]):
                raise ValueError(f"an optimizer's {name} of shape {tuple(value.shape)}")
    return {**state, "param_groups": groups}
