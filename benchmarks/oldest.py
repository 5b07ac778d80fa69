"""Print the oldest allowed versions of what could change a result, as constraints for pip: ``make test-oldest``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scikit-image", "safetensors")


def constraints() -> list[str]:
    """Return ``name==version`` for each of `PACKAGES`, from the lower bounds of pyproject.toml."""
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    bounds = dict(re.fullmatch(r"([\w-]+)>=([\w.]+)", line).groups() for line in declared)  # type: ignore[union-attr]
    return [f"{name}=={bounds[name]}" for name in PACKAGES]


if __name__ == "__main__":
    print("\n".join(constraints()))
