"""Many trainings side by side, one process each, spread over the GPUs where there are any."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import torch


def devices() -> list[str]:
    """Return the GPUs as CUDA_VISIBLE_DEVICES names them."""
    if not torch.cuda.is_available():
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(index) for index in range(torch.cuda.device_count())]


def run(names: Sequence[str], arguments: Sequence[str], *, jobs: int | None = None) -> int:
    """Run ``python -m aelib.pretrain NAME ARGUMENTS`` for every name and return 1 if some failed, else 0.

    Parameters
    ----------
    names, arguments : sequence of str
    jobs : int, optional
        Processes at a time: by default one a GPU, or one a CPU core, since small networks gain little from a second
        thread. Each has a GPU of its own as long as there are enough, and its part of the CPU cores.
    """
    gpus, cores = devices(), os.cpu_count() or 1
    jobs = jobs or len(gpus) or cores
    free: Queue[str | None] = Queue()
    for job in range(jobs):
        free.put(gpus[job % len(gpus)] if gpus else None)

    def run_one(name: str) -> int:
        gpu = free.get()
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores // jobs))}
        environment |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        command = [sys.executable, "-m", "aelib.pretrain", name, *arguments]
        try:
            return subprocess.run(command, env=environment, check=False).returncode
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(jobs) as pool:
        failed = [name for name, code in zip(names, pool.map(run_one, names), strict=True) if code != 0]
    if failed:
        print(f"failed: {', '.join(failed)}; run the command again to go on", file=sys.stderr)
    return int(bool(failed))
