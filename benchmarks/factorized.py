"""CompressAI's factorized-prior model on images of 32x32 pixels, in an environment of its own: ``make compressai``.

The package wants numpy before 2 and Python before 3.13, so that it cannot share ours; this file needs nothing else.
Weights are random: speed depends on the number of symbols, which is fixed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

PYTHON = Path(__file__).parent.parent / ".venv-compressai" / "bin" / "python"
CHANNELS = 128, 192  # the model's N and M: 3 million parameters
ROUNDS = 5


def measure(images: Any) -> dict[str, Any] | None:
    """Return what the other environment says of a uint8 tensor, (N, 3, H, W), or None if there is none."""
    if not PYTHON.exists():
        return None
    shape = ",".join(map(str, images.shape))
    command, content = [PYTHON, __file__, shape], images.numpy().tobytes()
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, input=content)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(shape: tuple[int, ...]) -> None:
    """Print version, parameters, and images of standard input encoded and decoded a second: medians of some rounds."""
    import compressai
    import torch
    from compressai.models import FactorizedPrior

    torch.manual_seed(0)
    model, count = FactorizedPrior(*CHANNELS).eval(), shape[0]
    content = bytearray(sys.stdin.buffer.read())
    images = torch.frombuffer(content, dtype=torch.uint8).reshape(shape) / 255
    model.update()
    seconds = []
    for _ in range(ROUNDS + 1):  # the first is to warm up
        start = time.perf_counter()
        with torch.no_grad():
            coded = model.compress(images)
            middle = time.perf_counter()
            model.decompress(coded["strings"], coded["shape"])
        seconds.append((middle - start, time.perf_counter() - middle))
    encoding, decoding = (median(column) for column in zip(*seconds[1:], strict=True))
    found = {"version": compressai.__version__, "parameters": sum(value.numel() for value in model.parameters())}
    found |= {"encode_images_per_second": count / encoding, "decode_images_per_second": count / decoding}
    print(json.dumps(found))


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1].split(","))))
