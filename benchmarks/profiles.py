"""The largest costs of training, encoding and decoding, by name; ``benchmarks/bench.py`` gathers them."""

from __future__ import annotations

import cProfile
import pstats
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import training
from torch.profiler import ProfilerActivity, profile

from aelib import data, recipes, zoo

LARGEST = 3
Cost = dict[str, Any]


def operations(work: Callable[[], Any]) -> list[Cost]:
    """Return the operations of PyTorch that take most of some work, backward passes included."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    own = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    return _largest(own)


def functions(work: Callable[[], Any]) -> list[Cost]:
    """Return the functions, whatever they are of, whose own lines take most of some work."""
    work()
    found = cProfile.Profile()
    found.runcall(work)
    own: dict[str, float] = {}
    for (file, _, name), (_, _, seconds, *_) in pstats.Stats(found).stats.items():  # type: ignore[attr-defined]
        built_in = re.search(r"method '?([\w.]+)", name) if file == "~" else None
        label = built_in[1] if built_in else f"{Path(file).stem}.{name}"
        own[label] = own.get(label, 0) + seconds
    return _largest(own)


def _largest(own: dict[str, float]) -> list[Cost]:
    total, order = sum(own.values()), sorted(own, key=lambda name: -own[name])
    return [{"name": name, "percent": round(100 * own[name] / total, 1)} for name in order[:LARGEST]]


def measure(count: int) -> dict[str, list[Cost]]:
    """Return the largest costs of each kind of work on so many images."""
    found = {}
    images = data.load("cifar10", "train").images[:count]
    for name in training.NAMES:
        settings = replace(recipes.recipe(name), epochs=1)
        found[f"training {name}"] = operations(lambda name=name, own=settings: training.own(name, images, own))
    for label, codec in (
        ("autoencoder", zoo.load_codec("cifar10-conv-64")),
        ("learned codec", zoo.load_learned("cifar10", 4)),
    ):
        streams = codec.encode(images)
        found[f"encoding, {label}"] = functions(lambda codec=codec: codec.encode(images))
        found[f"decoding, {label}"] = functions(lambda codec=codec, streams=streams: codec.decode(streams))
    return found
