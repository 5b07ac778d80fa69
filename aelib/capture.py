"""Steps of training whose thousands of small kernels CUDA launches as one graph, or as two with an exchange between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from aelib import distributed

_FIRST = 3  # steps before CUDA captures one, in which libraries choose their algorithms and Adam's state comes to be


def captured(take: Callable[[], Tensor], generator: torch.Generator) -> Callable[[], Tensor]:
    """Return what does as `take` does; on CUDA the thousands of small kernels of a step are launched as one graph."""
    return _replayed(take, generator) if generator.device.type == "cuda" else take


def of_shape(take: Callable[..., Tensor], count: int) -> Callable[..., Tensor]:
    """Return what does as `take` does; given tensors of `count` rows on CUDA, it is launched as one graph."""
    replayed = _replayed(take)

    def step(*given: Tensor) -> Tensor:
        fits = given[0].device.type == "cuda" and len(given[0]) == count
        return (replayed if fits else take)(*given)

    return step


def _replayed(take: Callable[..., Tensor], generator: torch.Generator | None = None) -> Callable[..., Tensor]:
    """Return what takes the first steps as they are, then captures one and replays it on what it is given."""
    graph: torch.cuda.CUDAGraph | None = None
    stream: torch.cuda.Stream | None = None
    held: list[Tensor] = []
    result, taken = torch.empty(0), 0

    def step(*given: Tensor) -> Tensor:
        nonlocal graph, stream, held, result, taken
        taken += 1
        if taken <= _FIRST:
            stream = stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                result = take(*given)
            torch.cuda.current_stream().wait_stream(stream)
            return result
        if graph is None:
            graph, held = torch.cuda.CUDAGraph(), [value.clone() for value in given]
            if generator is not None:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph):
                result = take(*held)
        for value, new in zip(held, given, strict=True):
            value.copy_(new)
        graph.replay()
        return result

    return step


def stepper(
    gradients: Callable[[], Tensor],
    update: Callable[[Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    generator: torch.Generator,
    crew: distributed.Crew,
) -> Callable[[], Tensor]:
    """Return what takes a step and returns its loss.

    Parameters
    ----------
    gradients : callable
        Leaves gradients in the parameters and returns the loss; of both, this process's summand.
    update : callable
        Gets the loss, changes the parameters by their gradients, and returns the loss.
    parameters : sequence of Parameter
    generator : Generator
        Of all random numbers, on the device of the training.
    crew : Crew
        The processes, which add up losses and gradients in between.
    """
    if crew.alone:
        return captured(lambda: update(gradients()), generator)
    row = torch.empty(0)

    def first() -> Tensor:
        nonlocal row
        row = distributed.pack(gradients(), parameters)
        return row

    before = captured(first, generator)
    after = captured(lambda: update(distributed.unpack(row, parameters)), generator)

    def step() -> Tensor:
        crew.add_up(before())
        return after()

    return step
