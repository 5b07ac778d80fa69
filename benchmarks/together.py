"""Images a second of `aelib.train.fit` in one process, or in several under torchrun; `benchmarks/bench.py` calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import training

from aelib import data, distributed, recipes


def measure(name: str, count: int, processes: int, threads: int) -> float:
    """Return the images a second of processes with so many threads each, whose batches add up to the recipe's."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*launcher, __file__, name, str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, text=True)
    return float(json.loads(run.stdout.splitlines()[-1]))


def main(name: str, count: int) -> None:
    """Train for an epoch, once to warm up, and print the images a second."""
    crew, recipe = distributed.launched(), recipes.recipe(name)
    settings = replace(recipe, epochs=1, batch_size=recipe.batch_size // crew.count)
    images = data.load("cifar10", "train").images[:count]
    seconds = [training.own(name, images, settings) for _ in range(2)]
    if crew.first:
        print(json.dumps(len(images) / min(seconds)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
