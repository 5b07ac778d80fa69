"""Pretrained weights: list, load, save, and the card that says what each one is and reaches."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from aelib import entropy, files, models
from aelib.codecs import Autoencoder
from aelib.models import ARCHITECTURES, build
from aelib.quantise import Quantiser

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
    """What a reader should know of one set of weights; stored as JSON beside them.

    Attributes
    ----------
    name : str
        ``DATASET-ARCHITECTURE-K``.
    dataset, architecture : str
    latent_dim, channels, size : int
        Arguments of the architecture.
    parameters : int
        Number of trained values.
    test : dict
        Means over the full test set: ``mse`` on the [0, 1] scale, ``mean_psnr`` and ``pooled_psnr`` in dB, ``ssim``,
        the number of ``images``; ``mean_psnr_float32`` is that of the weights before they were rounded to float16.
    pca_mean_psnr : float
        Mean PSNR in dB of principal component analysis with K components, fitted on the same training images.
    recipe : dict
        The training settings and the command.
    history : dict
        ``train_loss`` and ``validation_loss`` per epoch.
    data_sha256 : dict
        Of the arrays that it was trained and tested on.
    versions : dict
        Of the packages and of Python.
    hardware : str
    seconds : float
        Wall-clock time of training.
    sha256, tables_sha256 : str
        Of the weight file, and of the file of the quantiser's steps and tables.
    """

    name: str
    dataset: str
    architecture: str
    latent_dim: int
    channels: int
    size: int
    parameters: int
    test: dict[str, float]
    pca_mean_psnr: float
    recipe: dict[str, Any]
    history: dict[str, list[float]]
    data_sha256: dict[str, str]
    versions: dict[str, str]
    hardware: str
    seconds: float
    sha256: str = ""
    tables_sha256: str = ""


def model_name(dataset: str, architecture: str, latent_dim: int) -> str:
    """Return the name of weights.

    >>> model_name("cifar10", "conv", 64)
    'cifar10-conv-64'
    """
    return f"{dataset}-{architecture}-{latent_dim}"


def names(dataset: str = "*", architecture: str = "*", *, folder: Path = WEIGHTS) -> list[str]:
    """Return the names of all shipped weights, or of one data set's or architecture's, by rising K."""
    files = folder.glob(f"{dataset}-{architecture}-*.json")
    found = [file.stem for file in files if file.stem.rsplit("-", 1)[1].isdecimal()]
    return sorted(found, key=lambda name: (name.rsplit("-", 1)[0], int(name.rsplit("-", 1)[1])))


def sizes(dataset: str, architecture: str, *, folder: Path = WEIGHTS) -> list[int]:
    """Return the bottleneck sizes K that are shipped for a data set and an architecture, rising."""
    return [int(name.rsplit("-", 1)[1]) for name in names(dataset, architecture, folder=folder)]


def card(name: str, *, folder: Path = WEIGHTS) -> Card:
    """Return the card of the weights `name`.

    Raises
    ------
    ValueError
        There are no such weights (the message lists those there are), or the card is damaged.
    """
    if name not in names(folder=folder):
        family = name.rsplit("-", 1)[0]
        listed = [known for known in names(folder=folder) if known.startswith(f"{family}-")] or names(folder=folder)
        raise ValueError(f"expected the name of shipped weights, {', '.join(listed)}, got {name!r}")
    file = folder / f"{name}.json"
    try:
        return Card(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a weight card in {file}, got something else: {error}") from error


def load(name: str, *, folder: Path = WEIGHTS) -> models.Autoencoder:
    """Return the pretrained model `name` in eval mode, on the CPU, in float32.

    Raises
    ------
    ValueError
        There are no such weights, or the file is not the one that the card was written for.

    Examples
    --------
    >>> load("cifar10-conv-64").latent_dim
    64
    """
    facts = card(name, folder=folder)
    file = folder / f"{name}.safetensors"
    try:
        stored = file.read_bytes()
    except OSError as error:
        raise ValueError(f"expected the weights of {name} in {file}, got {error}") from error
    if (got := hashlib.sha256(stored).hexdigest()) != facts.sha256:
        raise ValueError(f"expected SHA-256 {facts.sha256} of {file}, got {got}: the file is damaged or not its card's")
    if facts.architecture not in ARCHITECTURES:
        raise ValueError(f"expected an architecture out of {tuple(ARCHITECTURES)}, got {facts.architecture!r}")
    model = build(facts.architecture, facts.latent_dim, channels=facts.channels, size=facts.size)
    try:
        model.load_state_dict({key: value.to(torch.float32) for key, value in load_tensors(stored).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"expected the weights of {name} in {file}, got {error}") from error
    return model.eval()


def load_codec(name: str, quality: int = 7, *, folder: Path = WEIGHTS) -> Autoencoder:
    """Return the pretrained model `name` as a codec.

    Parameters
    ----------
    name : str
    quality : int
        0 (smallest streams) to 7 (least loss).

    Examples
    --------
    >>> load_codec("cifar10-conv-64").name
    'autoencoder conv K=64 q7'
    """
    model = load(name, folder=folder)
    file = folder / f"{name}.tables.safetensors"
    expected = card(name, folder=folder).tables_sha256
    try:
        content = file.read_bytes()
        if (got := hashlib.sha256(content).hexdigest()) != expected:
            raise ValueError(f"SHA-256 {got} instead of its card's {expected}")
        stored = {key: value.numpy() for key, value in load_tensors(content).items()}
        ends = np.cumsum(stored["counts"].astype(np.int64))
        columns = np.split(stored["frequencies"].astype(np.int64), ends[:-1])
        tables = [entropy.Table(int(low), column) for low, column in zip(stored["lows"], columns, strict=True)]
        per_quality = zip(*[iter(tables)] * model.latent_dim, strict=True)
        quantiser = Quantiser(stored["steps"], tuple(per_quality))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"expected the steps and tables of {name} in {file}, got {error}") from error
    return Autoencoder(model, quantiser, quality)


_load_once = cache(load_codec)


@cache
def shared_codec(name: str, quality: int = 7) -> Autoencoder:
    """Return what `load_codec` does, with one model for each name in the whole process, which nobody may train."""
    return replace(_load_once(name), quality=quality)


def rounded(model: models.Autoencoder) -> models.Autoencoder:
    """Return a copy in eval mode on the CPU whose weights are those that float16 on disk keeps."""
    copy = build(_architecture(model), model.latent_dim, channels=model.channels, size=model.size)
    copy.load_state_dict({key: value.cpu().half().float() for key, value in model.state_dict().items()})
    return copy.eval()


def save(model: models.Autoencoder, quantiser: Quantiser, facts: Card, *, folder: Path = WEIGHTS) -> None:
    """Write weights as float16 safetensors, steps and tables, and last the card, which holds the hashes of both."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_tensors({key: value.cpu().half().contiguous() for key, value in model.state_dict().items()})
    tables = _tables_bytes(quantiser)
    hashes = {"sha256": hashlib.sha256(weights).hexdigest(), "tables_sha256": hashlib.sha256(tables).hexdigest()}
    files.write_whole(folder / f"{facts.name}.safetensors", weights)
    files.write_whole(folder / f"{facts.name}.tables.safetensors", tables)
    files.write_whole(
        folder / f"{facts.name}.json", (json.dumps({**asdict(facts), **hashes}, indent=1) + "\n").encode()
    )


def _tables_bytes(quantiser: Quantiser) -> bytes:
    tables = [table for quality in quantiser.tables for table in quality]
    frequencies = np.concatenate([table.frequencies for table in tables])
    return save_tensors(
        {
            "steps": torch.from_numpy(quantiser.steps),
            "lows": torch.tensor([table.low for table in tables], dtype=torch.int32),
            "counts": torch.tensor([len(table.frequencies) for table in tables], dtype=torch.int32),
            "frequencies": torch.from_numpy(frequencies.astype(np.uint16)),
        }
    )


def _architecture(model: models.Autoencoder) -> str:
    return next(name for name, kind in ARCHITECTURES.items() if type(model) is kind)
