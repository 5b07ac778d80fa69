"""Pretrained weights: load and save; with what `aelib.cards` has, the list and the card of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from aelib import entropy, learned, models, storage
from aelib.cards import WEIGHTS as WEIGHTS
from aelib.cards import Card as Card
from aelib.cards import card as card
from aelib.cards import holder as holder
from aelib.cards import model_name as model_name
from aelib.cards import names as names
from aelib.cards import offered as offered
from aelib.cards import sizes as sizes
from aelib.cards import tables_name
from aelib.codecs import Autoencoder, Learned
from aelib.models import ARCHITECTURES, build
from aelib.quantise import Quantiser
from aelib.residual import OrderedAutoencoder, shortened


def load(name: str, *, folder: Path = WEIGHTS) -> models.Autoencoder:
    """Return the pretrained model `name` in eval mode, on the CPU, in float32, cut where it is a prefix of another.

    Raises
    ------
    ValueError
        There are no such weights, or the file is not the one that the card was written for.

    Examples
    --------
    >>> load("cifar10-conv-64").latent_dim
    64
    """
    latent_dim, stem = card(name, folder=folder).latent_dim, holder(name, folder=folder)
    facts, file = card(stem, folder=folder), folder / f"{stem}.safetensors"
    try:
        stored = file.read_bytes()
    except OSError as error:
        raise ValueError(f"expected the weights of {name} in {file}, got {error}") from error
    if (got := hashlib.sha256(stored).hexdigest()) != facts.sha256:
        raise ValueError(f"expected SHA-256 {facts.sha256} of {file}, got {got}: the file is damaged or not its card's")
    try:
        with torch.device("meta"):  # where a network of any size takes no memory before its shapes are compared
            model = build(facts.architecture, facts.latent_dim, channels=facts.channels, size=facts.size)
        tensors = {key: value.to(torch.float32) for key, value in load_tensors(stored).items()}
        model.load_state_dict(tensors, assign=True)
    except Exception as error:  # a foreign card or tensors of other shapes raise many kinds
        raise ValueError(f"expected the weights of {name} in {file}, got {error}") from error
    if stem != name:
        model = shortened(model, latent_dim, OrderedAutoencoder)
    return model.eval()


@overload
def load_codec(  # type: ignore[overload-overlap]
    name: Literal["cifar10", "mnist"], quality: float = 7, *, folder: Path = WEIGHTS
) -> Learned: ...


@overload
def load_codec(name: str, quality: int = 7, *, folder: Path = WEIGHTS) -> Autoencoder: ...


def load_codec(name: str, quality: float = 7, *, folder: Path = WEIGHTS) -> Autoencoder | Learned:
    """Return a codec with pretrained weights: of a model, or by the name of a data set its learned one.

    Parameters
    ----------
    name : str
        One of `names`, a prefix of an ordered network as in `card`, or "cifar10" or "mnist".
    quality : float
        0 (smallest streams) to 7 (least loss); whole for models, any number for learned codecs.

    Raises
    ------
    ValueError
        There are no such weights, or files are missing or damaged.

    Examples
    --------
    >>> load_codec("cifar10-conv-64").name
    'autoencoder conv K=64 q7'
    """
    if name in learned.DESIGNS:
        return load_learned(name, quality, folder=folder)
    expected = card(name, folder=folder).tables_sha256  # before the weights, lest they be of a later card
    model, file = load(name, folder=folder), folder / tables_name(name, holder(name, folder=folder))
    try:
        content = file.read_bytes()
        if (got := hashlib.sha256(content).hexdigest()) != expected:
            raise ValueError(f"SHA-256 {got} instead of its card's {expected}")
        quantiser = _quantiser(content)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"expected the steps and tables of {name} in {file}, got {error}") from error
    return Autoencoder(model, quantiser, quality)  # type: ignore[arg-type]


def learned_names(*, folder: Path = WEIGHTS) -> list[str]:
    """Return the data sets whose learned codec is shipped."""
    return [name for name in learned.DESIGNS if (folder / f"{name}-learned.json").is_file()]


def learned_card(dataset: str, *, folder: Path = WEIGHTS) -> dict[str, Any]:
    """Return what the card of a data set's learned codec says; OSError or ValueError if there is none."""
    facts: dict[str, Any] = storage.read_json(folder / f"{dataset}-learned.json")
    return facts


def load_learned(name: str, quality: float = 7, *, effort: str = "default", folder: Path = WEIGHTS) -> Learned:
    """Return the learned codec of a data set, "cifar10" or "mnist", as `load_codec` does, at an effort."""
    file = folder / f"{name}-learned.safetensors"
    try:
        facts, stored = learned_card(name, folder=folder), file.read_bytes()
        if (got := hashlib.sha256(stored).hexdigest()) != facts["sha256"]:
            raise ValueError(f"SHA-256 {got} instead of its card's {facts['sha256']}")
        codec = Learned.from_tensors(load_tensors(stored), learned.design(facts["design"]))
    except Exception as error:  # a foreign design or tensors of other shapes raise many kinds
        raise ValueError(f"expected the learned codec of {name} in {file} and its card, got {error!r}") from error
    return replace(codec, quality=quality, effort=effort)


def learned_for(stream: bytes, *, folder: Path = WEIGHTS) -> Learned:
    """Return the shipped learned codec that wrote a stream.

    Raises
    ------
    ValueError
        None did: the stream is too short, foreign, of another version or another model.
    """
    shipped, reasons = learned_names(folder=folder), []
    for name in shipped:
        try:
            codec = load_learned(name, folder=folder)
            codec.payload(stream)
        except ValueError as error:
            reasons.append(f"{name}: {error}")
        else:
            return codec
    raise ValueError(f"expected a stream of a shipped learned codec ({', '.join(shipped)}); {'; '.join(reasons)}")


@cache
def _load_once(name: str) -> Autoencoder:
    return load_codec(name)


@cache
def shared_codec(name: str, quality: int = 7) -> Autoencoder:
    """Return what `load_codec` does, with one model for each name in the whole process, which nobody may train."""
    return replace(_load_once(name), quality=quality)


def rounded(model: models.Autoencoder) -> models.Autoencoder:
    """Return a copy in eval mode on the CPU whose weights are those that float16 on disk keeps."""
    copy = build(_architecture(model), model.latent_dim, channels=model.channels, size=model.size)
    copy.load_state_dict({key: value.cpu().half().float() for key, value in model.state_dict().items()})
    return copy.eval()


def save(
    model: models.Autoencoder,
    quantiser: Quantiser,
    facts: Card,
    *,
    prefixes: Mapping[int, Quantiser] = MappingProxyType({}),
    folder: Path = WEIGHTS,
) -> None:
    """Write weights as float16 safetensors, steps and tables, and last the card, which holds the hashes of all.

    Parameters
    ----------
    model : Autoencoder
    quantiser : Quantiser
    facts : Card
    prefixes : mapping
        The quantisers of the lengths in ``facts.prefixes``, by length.
    folder : Path
    """
    own, measured = model_name(facts.dataset, facts.architecture, model.latent_dim), {*map(int, facts.prefixes)}
    if facts.name != own or prefixes.keys() != measured:
        raise ValueError(
            f"expected the card of {own} and quantisers for {sorted(prefixes)} latents, got that of {facts.name} with "
            f"{sorted(measured)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_tensors({key: value.cpu().half().contiguous() for key, value in model.state_dict().items()})
    storage.write_whole(folder / f"{facts.name}.safetensors", weights)
    hashes = {
        length: _save_tables(folder / tables_name(model_name(facts.dataset, facts.architecture, length), own), each)
        for length, each in {**prefixes, model.latent_dim: quantiser}.items()
    }
    said = asdict(facts) | {
        "sha256": hashlib.sha256(weights).hexdigest(),
        "tables_sha256": hashes.pop(model.latent_dim),
        "prefixes": {
            f"{length}": asdict(facts.prefixes[f"{length}"]) | {"tables_sha256": own} for length, own in hashes.items()
        },
    }
    storage.write_whole(folder / f"{facts.name}.json", (json.dumps(said, indent=1) + "\n").encode())


def save_learned(codec: Learned, facts: dict[str, Any], *, folder: Path = WEIGHTS) -> None:
    """Write a learned codec as safetensors, and last its card, `facts` and the hash, both named ``facts["name"]``."""
    weights = save_tensors({name: value.contiguous() for name, value in codec.tensors().items()})
    storage.write_whole(folder / f"{facts['name']}.safetensors", weights)
    card_text = json.dumps({**facts, "sha256": hashlib.sha256(weights).hexdigest()}, indent=1) + "\n"
    storage.write_whole(folder / f"{facts['name']}.json", card_text.encode())


_TABLES = {"steps": torch.float64, "lows": torch.int32, "counts": torch.int32, "frequencies": torch.uint16}


def _save_tables(file: Path, quantiser: Quantiser) -> str:
    """Write steps and tables, and return their SHA-256."""
    parts = (quantiser.steps, *(getattr(quantiser.tables, name) for name in ("lows", "counts", "frequencies")))
    stored = {key: torch.from_numpy(part).to(kind) for (key, kind), part in zip(_TABLES.items(), parts, strict=True)}
    storage.write_whole(file, content := save_tensors(stored))
    return hashlib.sha256(content).hexdigest()


def _quantiser(content: bytes) -> Quantiser:
    """Return what `_save_tables` wrote; KeyError, SafetensorError or ValueError where it is something else."""
    stored = load_tensors(content)
    for key, kind in _TABLES.items():
        if stored[key].dtype != kind or stored[key].ndim != 1:
            raise ValueError(f"{key} as {stored[key].dtype}, {tuple(stored[key].shape)}, instead of {kind}, (N,)")
    lows, counts, frequencies = (stored[key].numpy().astype(np.int64) for key in ("lows", "counts", "frequencies"))
    return Quantiser(stored["steps"].numpy(), entropy.Tables(lows, counts, frequencies))


def _architecture(model: models.Autoencoder) -> str:
    return next(name for name, kind in ARCHITECTURES.items() if type(model) is kind)
