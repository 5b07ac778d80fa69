"""What every benchmark writes beside its figures: the versions and the machine that they were measured with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from aelib import storage


def write(file: Path, packages: Iterable[str], content: dict[str, Any], *, where: str = "") -> None:
    """Write figures as JSON, with the versions of packages and the hardware, to which `where` adds."""
    kind = torch.backends.cpu.get_cpu_capability()  # of x86_64; DEFAULT where it knows none
    machine = platform.machine() + (f" with {kind}" if kind != "DEFAULT" else "")
    hardware = f"{machine}, {os.cpu_count()} CPUs" + (f", {where}" if where else "")
    versions = {name: version(name) for name in packages} | content.pop("versions", {})
    whole = {"schema": 1, **content, "versions": versions, "hardware": hardware}
    storage.write_whole(file, (json.dumps(whole, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Row:
    """A figure of ours and what a peer reaches in the same run, both in `unit`, and the first over the second."""

    part: str
    what: str
    unit: str
    own: float
    peer: str
    theirs: float
    ratio: float

    @classmethod
    def of(cls, part: str, what: str, unit: str, own: float, peer: str, theirs: float) -> Row:
        """Return the row of two figures."""
        return cls(part, what, unit, own, peer, theirs, own / theirs)

    def __str__(self) -> str:
        """Return a line for the terminal."""
        figures = f"{self.own:10,.4g} to {self.theirs:10,.4g} {self.unit:12} x {self.ratio:<8.3g}"
        return f"{f'{self.part}: {self.what}':44} {figures} {self.peer}"
