"""The cards that say what each set of weights is and reaches, and which there are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat

from aelib import records, storage
from aelib.records import Count, NotNegative

WEIGHTS = Path(__file__).parent / "weights"
_LENGTH = re.compile("[1-9][0-9]{0,5}")
_Whole = Annotated[int, Field(lt=1_000_000_000)]  # a larger one could be too large for a float
_Decibel = Annotated[float, Field(ge=0, lt=1000)]
_Sha256 = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]  # empty until the file is written


@dataclass(frozen=True)
class Prefix:
    """What an ordered network is with its first latents alone; fields as in `Card`, `mean_psnr` as in its `test`."""

    mean_psnr: _Decibel
    pca_mean_psnr: _Decibel
    parameters: Count
    tables_sha256: _Sha256


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
        The training settings, those of a second training as ``then``, and the command.
    history : dict
        ``train_loss`` and ``validation_loss`` per epoch, of the second training after the first.
    data_sha256 : dict
        Of the arrays that it was trained and tested on.
    versions : dict
        Of the packages and of Python.
    hardware : str
    seconds : float
        Wall-clock time of training.
    sha256, tables_sha256 : str
        Of the weight file, and of the file of the quantiser's steps and tables.
    prefixes : dict
        Of an ordered network, by number of latents, what it is where only so many are kept: a `Prefix`, whose
        ``tables_sha256`` is of its own, for each length has a quantiser of its own.
    """

    name: str
    dataset: str
    architecture: str
    latent_dim: Count
    channels: Count
    size: Count
    parameters: Count
    test: dict[str, _Whole | FiniteFloat]
    pca_mean_psnr: _Decibel
    recipe: dict[str, Any]
    history: dict[str, list[float]]
    data_sha256: dict[str, str]
    versions: dict[str, str]
    hardware: str
    seconds: NotNegative
    sha256: _Sha256 = ""
    tables_sha256: _Sha256 = ""
    prefixes: dict[str, Prefix] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.test.get("images", 0) < 1 or "mean_psnr" not in self.test:
            raise ValueError(f"expected the number of test images and mean PSNR, got {self.test!r:.200}")
        for length in self.prefixes:
            if self.architecture != "ordered" or not _LENGTH.fullmatch(length) or int(length) >= self.latent_dim:
                raise ValueError(f"expected prefixes of an ordered network, got one of {length!r:.40} latents")

    def first(self, length: int) -> Card:
        """Return the card of the network with its first `length` latents alone; of `test` it has the mean PSNR.

        Raises
        ------
        ValueError
            That was not measured.
        """
        if (prefix := self.prefixes.get(f"{length}")) is None:
            measured = [*self.prefixes, f"{self.latent_dim}"]
            raise ValueError(f"expected one of {', '.join(measured)} latents of {self.name}, got {length}")
        return replace(
            self,
            name=model_name(self.dataset, self.architecture, length),
            latent_dim=length,
            parameters=prefix.parameters,
            test={"images": self.test["images"], "mean_psnr": prefix.mean_psnr},
            pca_mean_psnr=prefix.pca_mean_psnr,
            tables_sha256=prefix.tables_sha256,
            prefixes={},
        )


def model_name(dataset: str, architecture: str, latent_dim: int) -> str:
    """Return the name of weights.

    >>> model_name("cifar10", "conv", 64)
    'cifar10-conv-64'
    """
    return f"{dataset}-{architecture}-{latent_dim}"


def names(dataset: str = "*", architecture: str = "*", *, folder: Path = WEIGHTS) -> list[str]:
    """Return the names of all shipped weights, or of one data set's or architecture's, by rising K."""
    known = folder.glob(f"{dataset}-{architecture}-*.json")
    found = [file.stem for file in known if file.stem.rsplit("-", 1)[1].isdecimal()]
    return sorted(found, key=lambda name: (name.rsplit("-", 1)[0], int(name.rsplit("-", 1)[1])))


def sizes(dataset: str, architecture: str, *, folder: Path = WEIGHTS) -> list[int]:
    """Return the bottleneck sizes K that are shipped for a data set and an architecture, rising."""
    return [int(name.rsplit("-", 1)[1]) for name in names(dataset, architecture, folder=folder)]


def offered(dataset: str, architecture: str, *, folder: Path = WEIGHTS) -> list[int]:
    """Return the K to choose from, rising: shipped sizes, and lengths to which an ordered network can be cut.

    >>> sizes("cifar10", "ordered"), offered("cifar10", "ordered")[-3:]
    ([384], [128, 256, 384])
    """
    found = sizes(dataset, architecture, folder=folder)
    if architecture == "ordered" and found:
        found += map(int, card(model_name(dataset, architecture, found[-1]), folder=folder).prefixes)
    return sorted(set(found))


def card(name: str, *, folder: Path = WEIGHTS) -> Card:
    """Return the card of the weights `name`, or of the first K latents of an ordered network.

    Raises
    ------
    ValueError
        There are no such weights (the message lists those there are), or the card is damaged.

    Examples
    --------
    >>> card("cifar10-ordered-64").latent_dim
    64
    """
    stem = holder(name, folder=folder)
    file = folder / f"{stem}.json"
    try:
        facts = records.made(Card, storage.read_json(file))
        said = facts.dataset, facts.architecture, facts.latent_dim
        if not stem == facts.name == model_name(*said):
            raise ValueError(f"the card of {facts.name!r:.40}: {', '.join(f'{part!r:.40}' for part in said)}")
    except ValueError as error:
        raise ValueError(f"expected a weight card in {file}, got something else: {error}") from error
    return facts if stem == name else facts.first(int(name.rsplit("-", 1)[1]))


def holder(name: str, *, folder: Path = WEIGHTS) -> str:
    """Return the name of the file that holds the weights `name`: its own, or the ordered network's that it is cut of.

    Raises
    ------
    ValueError
        There is none.
    """
    family, _, length = name.rpartition("-")
    known = names(folder=folder)
    if name in known:
        return name
    related = [other for other in known if other.startswith(f"{family}-")] if family else []
    if related and family.endswith("-ordered") and _LENGTH.fullmatch(length):
        return related[-1]
    raise ValueError(f"expected the name of shipped weights, {', '.join(related or known)}, got {name!r}")


def tables_name(name: str, stem: str) -> str:
    """Return the name of the file of steps and tables of the weights `name`, whose `holder` is `stem`.

    >>> tables_name("cifar10-ordered-64", "cifar10-ordered-384")
    'cifar10-ordered-384.first-64.tables.safetensors'
    """
    first = "" if name == stem else f".first-{name.rsplit('-', 1)[1]}"
    return f"{stem}{first}.tables.safetensors"
