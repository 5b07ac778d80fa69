"""The cards that say what each set of weights is and reaches, and which there are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aelib import files

WEIGHTS = Path(__file__).parent / "weights"
_LENGTH = re.compile("[1-9][0-9]{0,5}")


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
    prefixes : dict
        Of an ordered network, by number of latents, where only so many are kept: ``mean_psnr`` and ``pca_mean_psnr``,
        the number of ``parameters``, and ``tables_sha256``, for each length has a quantiser of its own.
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
    prefixes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.latent_dim, int):
            raise ValueError(f"expected a whole latent_dim, got {self.latent_dim!r}")
        for length, figures in self.prefixes.items():
            if self.architecture != "ordered" or not _LENGTH.fullmatch(length) or int(length) >= self.latent_dim:
                raise ValueError(f"expected prefixes of an ordered network, got one of {length} latents")
            if not all(math.isfinite(figures[key]) for key in ("mean_psnr", "pca_mean_psnr", "parameters")):
                raise ValueError(f"expected finite figures of a prefix, got {figures}")

    def first(self, length: int) -> Card:
        """Return the card of the network with its first `length` latents alone; of `test` it has the mean PSNR.

        Raises
        ------
        ValueError
            That was not measured.
        """
        if (figures := self.prefixes.get(f"{length}")) is None:
            measured = [*self.prefixes, f"{self.latent_dim}"]
            raise ValueError(f"expected one of {', '.join(measured)} latents of {self.name}, got {length}")
        return replace(
            self,
            name=model_name(self.dataset, self.architecture, length),
            latent_dim=length,
            parameters=figures["parameters"],
            test={"images": self.test["images"], "mean_psnr": figures["mean_psnr"]},
            pca_mean_psnr=figures["pca_mean_psnr"],
            tables_sha256=figures["tables_sha256"],
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
    files = folder.glob(f"{dataset}-{architecture}-*.json")
    found = [file.stem for file in files if file.stem.rsplit("-", 1)[1].isdecimal()]
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
    if architecture == "ordered":
        cards = [card(model_name(dataset, architecture, size), folder=folder) for size in found]
        found += [int(length) for one in cards for length in one.prefixes]
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
        facts = Card(**files.read_json(file))
        if stem != name:
            facts = facts.first(int(name.rsplit("-", 1)[1]))
        if model_name(facts.dataset, facts.architecture, facts.latent_dim) != name:
            raise ValueError(f"the card of {facts.dataset}, {facts.architecture}, K = {facts.latent_dim!r:.40}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected a weight card in {file}, got something else: {error}") from error
    return facts


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
        longer = [other for other in related if int(other.rsplit("-", 1)[1]) > int(length)]
        return (longer or related)[0]
    raise ValueError(f"expected the name of shipped weights, {', '.join(related or known)}, got {name!r}")
