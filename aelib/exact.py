"""The prior in whole numbers: what encoder and decoder both compute, to the same bits on every machine.

A float network gives other last bits under another batch size, thread count, library or processor, and one such bit in
a probability makes a stream undecodable. Here weights, activations and tables are whole numbers, and every sum stays
below 2**53: float64 adds and multiplies them exactly, in any order, so that any matrix product may be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aelib import entropy
from aelib.entropy import Bools, Int64
from aelib.prior import FINEST, LEVELS, Pass, Prior, information, inside, passes
from aelib.range_coder import PRECISION

PER_OCTAVE, SCALES = 6, 64
FILLING = SCALES  # the scale of symbols that are known to be 0
ESCAPE_BITS = 16
MEAN_BITS, BITS, UNIT_BITS, WEIGHT_BITS = 4, 10, 16, 14  # behind the point of means, activations, 1/unit, weights
INPUT, HIDDEN, OUTPUT, SYMBOL = 1 << 16, 1 << 20, 1 << 17, (1 << 15) - 1  # the largest magnitudes
_POSITIONS = 4096  # evaluated at a time, which bounds the memory


def gaussian_tables() -> entropy.Tables:
    """Return the frequencies of whole residuals at the 64 scales, ``FINEST * 2**(index / 6)``."""
    tables = []
    for index in range(SCALES):
        octaves = index / PER_OCTAVE
        width = math.ceil(4.5 * FINEST * 2**octaves) + 2
        values = torch.arange(-width, width + 1, dtype=torch.float64)
        shares = torch.exp2(-information(values, torch.tensor(octaves))).numpy()
        frequencies = 1 + np.floor(shares / shares.sum() * (entropy.TOTAL - 2 - len(shares))).astype(np.int64)
        frequencies[width] += entropy.TOTAL - 1 - frequencies.sum()
        tables.append(np.append(frequencies, 1))
    counts = np.array([len(table) for table in tables])
    return entropy.Tables(1 - counts // 2, counts, np.concatenate(tables))


def integer_mixture(levels: Int64) -> Int64:
    """Return the shares (N, 8), in 255ths, of the quality levels in quality bytes (N,): byte b is quality 7 b / 255."""
    shares: Int64 = np.maximum(0, 255 - np.abs(7 * levels[:, None] - 255 * np.arange(LEVELS)))
    return shares


def qualities(levels: Int64) -> Tensor:
    """Return the qualities (N,), from 0 to 7, of quality bytes."""
    return torch.from_numpy(levels).float() * ((LEVELS - 1) / 255)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Divide whole numbers in float64 by 2**bits and round to the nearest, halves up: exact."""
    return torch.floor((x + (1 << bits >> 1)) / (1 << bits))


@dataclass(frozen=True)
class Integer:
    """A trained prior in whole numbers.

    Attributes
    ----------
    values : mapping of str to array of int64
        Named as in the state of `Prior`, and ``inverses``, (8, C): 1 / units. In fixed point: units, shifts and biases
        are multiples of 2**-10, weights of 2**-14, inverses of 2**-16.
    tables : Tables
        Of the 64 scales, symmetric round 0.

    Raises
    ------
    ValueError
        Numbers so large that sums could leave the exact range of float64.
    """

    values: Mapping[str, Int64]
    tables: entropy.Tables

    def __post_init__(self) -> None:
        for name, limit in (("units", 1 << 20), ("inverses", 1 << 22)):
            if not 1 <= self.values[name].min() <= self.values[name].max() <= limit:
                raise ValueError(f"expected {name} from 1 to {limit}, got {self.values[name]}")
        if len(self.tables) != SCALES or (2 - self.tables.counts != 2 * self.tables.lows).any():
            raise ValueError(f"expected {SCALES} symmetric tables, got {len(self.tables)}")
        pairs = (("inner", "shifts", INPUT, 0), ("outer", "biases", HIDDEN, 1))
        for weights, biases, largest, ahead in pairs:
            for index in range(len(self.passes) - 1):
                sums = np.abs(self.values[f"{weights}.{index}.weight"]).sum(axis=(1, 2, 3)).max() * largest
                if (most := sums + (np.abs(self.values[f"{biases}.{index + ahead}"]).max() << WEIGHT_BITS)) >= 1 << 52:
                    raise ValueError(f"expected sums below 2**52 in {weights}.{index}, got up to {most}")

    @classmethod
    def of(cls, prior: Prior) -> Integer:
        """Return the integer twin of a trained prior."""
        state = {name: value.detach().cpu().double() for name, value in prior.state_dict().items()}
        floats = {name: value * 2 ** (WEIGHT_BITS if "weight" in name else BITS) for name, value in state.items()}
        floats["units"] = state["units"].exp2() * 2**BITS
        floats["inverses"] = (-state["units"]).exp2() * 2**UNIT_BITS
        return cls({name: value.round().long().numpy() for name, value in floats.items()}, gaussian_tables())

    def floats(self) -> Prior:
        """Return the float prior that these integers stand for, to search with; never to code with."""
        hidden = self.values["shifts.0"].shape[1] if len(self.passes) > 1 else 1
        prior = Prior(**self._grouping, hidden=hidden)
        points = {name: WEIGHT_BITS if "weight" in name else BITS for name in prior.state_dict()}
        state = {name: torch.from_numpy(self.values[name]).double() / 2**bits for name, bits in points.items()}
        prior.load_state_dict({**state, "units": state["units"].log2()})
        return prior

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers as int32, for `from_tensors`."""
        values = {f"prior.{name}": torch.from_numpy(value).int() for name, value in self.values.items()}
        tables = {name: torch.from_numpy(getattr(self.tables, name)).int() for name in ("frequencies", "lows")}
        return {**values, **tables}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Integer:
        """Return the prior whose numbers are among `tensors`; KeyError or ValueError if they are not."""
        lows, frequencies = (tensors[name].long().numpy() for name in ("lows", "frequencies"))
        tables = entropy.Tables(lows, 2 - 2 * lows, frequencies)
        values = {name[6:]: value.long().numpy() for name, value in tensors.items() if name.startswith("prior.")}
        return cls(values, tables)

    @property
    def channels(self) -> int:
        """C."""
        return int(self.values["units"].shape[1])

    @cached_property
    def _grouping(self) -> dict[str, Any]:
        """Channels of each group, and how many groups are halved: those make the passes more than the channels."""
        count = sum(name.startswith("biases.") for name in self.values)
        sizes = [self.values[f"biases.{index}"].shape[1] // 2 for index in range(count)]
        surplus, halved = sum(sizes) - self.channels, 0
        while surplus > 0 and halved < len(sizes):
            surplus -= sizes.pop(halved)
            halved += 1
        if surplus:
            raise ValueError(f"expected passes over {self.channels} channels, got sizes {sizes}")
        return {"groups": sizes, "halved": halved}

    @cached_property
    def passes(self) -> list[Pass]:
        """In what order channels and places are coded."""
        return passes(**self._grouping)

    @cached_property
    def _layers(self) -> list[tuple[Tensor, Tensor]]:
        """The matrices (9 c, hidden) and (hidden, 2 m) of each pass but the first."""
        names = [(f"inner.{index}.weight", f"outer.{index}.weight") for index in range(len(self.passes) - 1)]
        pairs = [[torch.from_numpy(self.values[name]).double().flatten(1).T for name in pair] for pair in names]
        return [(first, second) for first, second in pairs]

    def intervals(self, symbols: Int64, scales: Int64) -> tuple[Int64, Int64, Bools]:
        """Return start and frequency of symbols at scales, `FILLING` at no cost, and where the escape stands in."""
        filling = scales == FILLING
        starts, frequencies, escaped = self.tables.intervals(symbols, np.where(filling, 0, scales))
        return np.where(filling, 0, starts), np.where(filling, entropy.TOTAL, frequencies), escaped & ~filling

    def find(self, targets: Int64, scales: Int64) -> tuple[Int64, Int64, Int64, Bools]:
        """Return the symbols in whose intervals numbers below 2**16 lie, and what `intervals` says of them."""
        filling = scales == FILLING
        symbols, starts, frequencies, escaped = self.tables.find(targets, np.where(filling, 0, scales))
        starts, frequencies = np.where(filling, 0, starts), np.where(filling, entropy.TOTAL, frequencies)
        return np.where(filling, 0, symbols), starts, frequencies, escaped & ~filling

    def ordered(self, values: Int64, filling: int) -> Int64:
        """Return values (N, C, h, w) in the order of coding, (N, passes' channels, h, w), others' places filled up."""
        places = [inside(step.half, *values.shape[2:]).numpy() for step in self.passes]
        parts = [np.where(own, values[:, step.own], filling) for step, own in zip(self.passes, places, strict=True)]
        return np.concatenate(parts, axis=1)

    def bits(self, symbols: Int64, scales: Int64) -> npt.NDArray[np.float64]:
        """Return what each symbol costs."""
        _, frequencies, escaped = self.intervals(symbols, scales)
        bits: npt.NDArray[np.float64] = PRECISION - np.log2(frequencies) + escaped * ESCAPE_BITS
        return bits

    def walk(
        self,
        levels: Int64,
        height: int,
        width: int,
        choose: Callable[[slice, Int64, Int64], Int64],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Int64:
        """Go through the passes, as encoder and decoder both do, and return the latents in 16ths, int64 (N, C, h, w).

        Parameters
        ----------
        levels : array of int64
            (N,), the quality bytes.
        height, width : int
            h and w.
        choose : callable
            Gets the channels of a pass, their means, in 16ths, and scales, both int64 (N, m, h, w): indices into
            `tables`, or `FILLING` at places of another pass and for scale 0, whose symbols are 0 for certain. Returns
            the symbols, of at most `SYMBOL` in magnitude.
        progress : callable
            Called with the number of passes done, and of all.
        """
        shares = integer_mixture(levels)
        units, inverses = self._mixed("units", shares), self._mixed("inverses", shares)
        latents = np.zeros((len(levels), self.channels, height, width), np.int64)
        context = torch.zeros(len(levels), self.channels, height + 2, width + 2, dtype=torch.float64)
        for index, (own, inputs, half) in enumerate(self.passes):
            size, places = own.stop - own.start, inside(half, height, width).numpy()
            found = self._evaluate(index, context[:, :inputs], shares)
            means = (
                _shifted(found[:, :size].clamp(-OUTPUT, OUTPUT) * units[:, own], 2 * BITS - MEAN_BITS).long().numpy()
            )
            scales = _shifted(found[:, size:] * PER_OCTAVE, BITS).clamp(0, SCALES - 1).long().numpy()
            coded = np.where(places & (scales > 0), scales, FILLING)
            symbols = np.where(coded == FILLING, 0, choose(own, means, coded))
            np.copyto(latents[:, own], (symbols << MEAN_BITS) + means, where=places)
            known = torch.from_numpy(latents[:, own]).double() * inverses[:, own]
            context[:, own, 1:-1, 1:-1] = _shifted(known, MEAN_BITS + UNIT_BITS - BITS).clamp(-INPUT, INPUT)
            progress(index + 1, len(self.passes))
        return latents

    def _mixed(self, name: str, shares: Int64) -> Tensor:
        """Return rows (N, D, 1, 1) of a table (8, D), mixed in whole numbers."""
        return torch.from_numpy((shares @ self.values[name] + 127) // 255).double()[:, :, None, None]

    def _evaluate(self, index: int, context: Tensor, shares: Int64) -> Tensor:
        """Return means over their unit and octaves, (N, 2 m, h, w), both in multiples of 2**-10."""
        biases = self._mixed(f"biases.{index}", shares)
        height, width = context.shape[2] - 2, context.shape[3] - 2
        if index == 0:
            return biases.expand(-1, -1, height, width)
        (inner, outer), shifts = self._layers[index - 1], self._mixed(f"shifts.{index - 1}", shares)
        found = torch.empty(len(shares), biases.shape[1], height, width, dtype=torch.float64)
        patches = context.unfold(2, 3, 1).unfold(3, 3, 1)  # (N, c, h, w, 3, 3), a view
        count = max(1, (rows := max(1, _POSITIONS // width)) // height)
        for n in range(0, len(shares), count):
            for y in range(0, height, rows):
                part = patches[n : n + count, :, y : y + rows].permute(0, 2, 3, 1, 4, 5)  # (n, y, w, c, 3, 3)
                sums = part.flatten(3) @ inner + shifts[n : n + count, None, None, :, 0, 0] * (1 << WEIGHT_BITS)
                hidden = _shifted(sums, WEIGHT_BITS).clamp(0, HIDDEN)
                results = _shifted(hidden @ outer, WEIGHT_BITS) + biases[n : n + count, None, None, :, 0, 0]
                found[n : n + count, :, y : y + rows] = results.permute(0, 3, 1, 2)
        return found
