"""CompressAI's factorized-prior model on images of 32x32 pixels, in an environment of its own: ``make compressai``.

The package wants numpy before 2 and Python before 3.13, so that it cannot share ours; this file needs nothing else.
Weights are random and so is what they make of an image: speed depends on the number of symbols, which is fixed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PYTHON = Path(__file__).parent.parent / ".venv-compressai" / "bin" / "python"
CHANNELS = 128, 192  # the model's N and M: 3 million parameters
ROUNDS = 5


def measure(count: int) -> dict[str, Any] | None:
    """Return what the other environment says, or None if there is none."""
    if not PYTHON.exists():
        return None
    run = subprocess.run([PYTHON, __file__, str(count)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(count: int) -> None:
    """Print version, parameters, and images encoded and decoded a second: the best of some rounds."""
    import compressai
    import torch
    from compressai.models import FactorizedPrior

    torch.manual_seed(0)
    model, images = FactorizedPrior(*CHANNELS).eval(), torch.rand(count, 3, 32, 32)
    model.update()
    seconds = []
    for _ in range(ROUNDS + 1):  # the first is to warm up
        start = time.perf_counter()
        with torch.no_grad():
            coded = model.compress(images)
            middle = time.perf_counter()
            model.decompress(coded["strings"], coded["shape"])
        seconds.append((middle - start, time.perf_counter() - middle))
    encoding, decoding = (min(column) for column in zip(*seconds[1:], strict=True))
    found = {"version": compressai.__version__, "parameters": sum(value.numel() for value in model.parameters())}
    found |= {"encode_images_per_second": count / encoding, "decode_images_per_second": count / decoding}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
