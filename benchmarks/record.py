"""What every benchmark writes beside its figures: the versions and the machine that they were measured with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aelib import files


def write(file: Path, packages: Iterable[str], content: dict[str, Any], *, where: str = "") -> None:
    """Write figures as JSON, with the versions of packages and the hardware, to which `where` adds."""
    hardware = f"{platform.machine()}, {os.cpu_count()} CPUs" + (f", {where}" if where else "")
    versions = {name: version(name) for name in packages} | content.pop("versions", {})
    whole = {"schema": 1, **content, "versions": versions, "hardware": hardware}
    files.write_whole(file, (json.dumps(whole, indent=1) + "\n").encode())
