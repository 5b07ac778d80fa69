"""Processes that train one network together: which of them this is, its share of a batch, one gradient for all.

``torchrun`` and ``accelerate launch`` say in the environment how many processes there are. Each of them draws the same
random numbers for the whole batch and works on its share; gradients are added up in one call. So all hold the same
weights at any time, those that one process would reach with as large a batch, but for the order of sums.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Crew:
    """The processes of one training.

    Attributes
    ----------
    rank : int
        Which of them this is; the first, 0, is the one that writes.
    count : int
        How many there are.
    local : int
        Which of those on this machine this is, and so the number of its GPU.
    beside : int
        How many there are on this machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    beside: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def connect(self, device: torch.device) -> torch.device:
        """Return the device of this process, connected with the others: by NCCL on GPUs, else on the CPU by Gloo."""
        on_gpu = device.type == "cuda"
        if self.alone:
            if on_gpu and device.index is not None:
                torch.cuda.set_device(device)  # graphs and streams are of the current one
            return device
        if on_gpu:
            device = torch.device("cuda", self.local if device.index is None else device.index)
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
            atexit.register(dist.destroy_process_group)
        return device if on_gpu else torch.device("cpu")

    def share(self, whole: int) -> tuple[slice, float]:
        """Return which of the images of a batch are this process's, at least one, and what their mean counts.

        >>> Crew(1, 2).share(5), Crew(0, 2).share(1)
        ((slice(2, 5, None), 0.6), (slice(0, 1, None), 0.0))
        """
        start, stop = (whole * rank // self.count for rank in (self.rank, self.rank + 1))
        return slice(start, stop) if start < stop else slice(0, 1), (stop - start) / whole

    def begin_alike(self, model: nn.Module) -> None:
        """Give the model in every process the weights that it has in the first."""
        if not self.alone:
            with torch.no_grad():
                for value in model.parameters():
                    whole = value.contiguous()
                    dist.broadcast(whole, 0)
                    value.copy_(whole)

    def agreed(self, value: float, device: torch.device) -> float:
        """Return the value that the first process has."""
        if self.alone:
            return value
        shared = torch.tensor(float(value), device=device)
        dist.broadcast(shared, 0)
        return float(shared)

    def found(self, checkpoint: Path | None, device: torch.device) -> Path | None:
        """Return the checkpoint if there is one.

        Raises
        ------
        FileNotFoundError, FileExistsError
            Only some of the processes see it.
        """
        there = checkpoint is not None and checkpoint.exists()
        if there != bool(self.agreed(there, device)):
            raise (FileExistsError if there else FileNotFoundError)(
                f"expected {checkpoint} in a folder that all machines share, but only some of the processes see it"
            )
        return checkpoint if there else None

    def add_up(self, summand: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        if not self.alone:
            dist.all_reduce(summand)
        return summand

    def add_up_gradients(self, loss: Tensor, model: nn.Module) -> Tensor:
        """Replace a model's gradients by their sums over all processes, and return that of the loss."""
        if self.alone:
            return loss
        return unpack(self.add_up(pack(loss, model.parameters())), model.parameters())


def launched() -> Crew:
    """Return the processes that a launcher started, of which this is one, or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Crew()
    defaults = {"RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": count}
    rank, local, beside = (int(os.environ.get(name, value)) for name, value in defaults.items())
    return Crew(rank, count, local, beside)


def pack(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return a loss and the gradients that there are in one row, to be added up in one call."""
    gradients = [value.grad for value in parameters if value.grad is not None]
    return torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in gradients)])


def unpack(row: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Write the gradients of a row back and return its loss."""
    gradients = [value.grad for value in parameters if value.grad is not None]
    loss, *parts = torch.split(row, [1, *(gradient.numel() for gradient in gradients)])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
    return loss[0]
