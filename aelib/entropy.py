"""Integers to bytes and back without loss: integer probability tables, and symbols coded with them."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from aelib.range_coder import PRECISION, STATE_BITS, Decoder, Encoder
from aelib.range_coder import Int64 as Int64

Bools = npt.NDArray[np.bool_]

TOTAL = 1 << PRECISION
_ESCAPE_BITS = 32


@dataclass(frozen=True)
class Tables:
    """Integer frequencies of T symbols: for the values `low`, `low` + 1, ..., and last an escape for all others.

    Attributes
    ----------
    lows, counts : array of int64
        (T,): of each table the smallest value with a frequency of its own, and how many frequencies there are.
    frequencies : array of int64
        All tables, one behind the other: at least 1 each, the sum of a table 2**16.

    Examples
    --------
    >>> coin = Tables(np.array([0]), np.array([3]), np.array([1 << 15, (1 << 15) - 1, 1]))
    >>> [stream.hex() for stream in encode(np.array([[1]]), coin)]
    ['80']
    """

    lows: Int64
    counts: Int64
    frequencies: Int64

    def __post_init__(self) -> None:
        expected = f"expected tables of two or more frequencies of at least 1 with sum {TOTAL}"
        ends = np.cumsum(self.counts)
        if not len(self.lows) == len(self.counts) >= 1 or ends[-1] != len(self.frequencies) or self.counts.min() < 2:
            raise ValueError(f"{expected}, got {len(self.lows)} values `low`, counts {self.counts}")
        sums = np.add.reduceat(self.frequencies, ends - self.counts)
        if self.frequencies.min() < 1 or (sums != TOTAL).any():
            raise ValueError(f"{expected}, got sums from {sums.min()} to {sums.max()}, some {self.frequencies.min()}")

    @staticmethod
    def joined(parts: Sequence[Tables]) -> Tables:
        """Return all tables of some, in their order."""
        return Tables(*(np.concatenate([getattr(part, name) for part in parts]) for name in Tables.__annotations__))

    def __len__(self) -> int:
        return len(self.lows)

    def __getitem__(self, which: slice) -> Tables:
        """Return some of the tables, those of a slice with step 1."""
        first, last = self._firsts[which][0], self._firsts[which][-1] + self.counts[which][-1]
        return Tables(self.lows[which], self.counts[which], self.frequencies[first:last])

    @cached_property
    def _firsts(self) -> Int64:
        """Where each table begins in `frequencies`."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def _starts(self) -> Int64:
        """Where each value's interval begins, in table t plus t * 2**16: rising over all tables."""
        return np.cumsum(self.frequencies) - self.frequencies

    def intervals(self, symbols: Int64, which: Int64) -> tuple[Int64, Int64, Bools]:
        """Return start and frequency of symbols in the tables `which`, and where the escape stands for a symbol.

        Symbols and tables are broadcast against each other.
        """
        index, escape = symbols - self.lows[which], self.counts[which] - 1
        escaped = (index < 0) | (index >= escape)
        entries = self._firsts[which] + np.where(escaped, escape, index)
        return self._starts[entries] & (TOTAL - 1), self.frequencies[entries], escaped

    def find(self, targets: Int64, which: Int64) -> tuple[Int64, Int64, Int64, Bools]:
        """Return the symbols in whose intervals numbers below 2**16 lie, and what `intervals` says of them."""
        entries = np.searchsorted(self._starts, which * TOTAL + targets, side="right") - 1
        index = entries - self._firsts[which]
        escaped = index == self.counts[which] - 1
        return self.lows[which] + index, self._starts[entries] & (TOTAL - 1), self.frequencies[entries], escaped

    @cached_property
    def _lists(self) -> tuple[list[int], ...]:
        parts = self._starts, self._firsts, self.counts, self.lows, self.frequencies
        return tuple(part.tolist() for part in parts)

    def find_one(self, target: int, which: int) -> tuple[int, int, int, bool]:
        """Return what `find` does, of one number and one table."""
        starts, firsts, counts, lows, frequencies = self._lists
        entry = bisect.bisect_right(starts, which * TOTAL + target) - 1
        index = entry - firsts[which]
        return lows[which] + index, starts[entry] & (TOTAL - 1), frequencies[entry], index == counts[which] - 1


def fit_tables(symbols: Int64) -> Tables:
    """Return what suits each column of `symbols`, int64 (N, T): counts plus one half, scaled to the sum 2**16.

    >>> fit_tables(np.array([[3], [3], [3], [4]])).frequencies
    array([45874, 19660,     2])
    """
    if symbols.ndim != 2 or not symbols.size:
        raise ValueError(f"expected one or more symbols of shape (N, T), got {symbols.shape}")
    lows, highs = symbols.min(axis=0), symbols.max(axis=0)
    if (widest := (highs - lows).max()) >= TOTAL // 4:
        raise ValueError(f"expected symbols in a range of at most {TOTAL // 4} values, got one of {widest}")
    tables = []
    for column in (symbols - lows).T:
        counts = np.bincount(column) + 0.5
        spare = TOTAL - 2 - len(counts)
        frequencies = 1 + np.floor(counts / counts.sum() * spare).astype(np.int64)
        frequencies[frequencies.argmax()] += TOTAL - 2 - frequencies.sum()
        tables.append(np.append(frequencies, 2))
    return Tables(lows, highs - lows + 2, np.concatenate(tables))


def encode(symbols: Int64, tables: Tables, which: Int64 | None = None) -> list[bytes]:
    """Code each row of `symbols`, int64 (N, K), into one stream.

    Values outside a table are coded as its escape and 32 bits.

    Parameters
    ----------
    symbols : array of int64
    tables : Tables
    which : array of int64, optional
        (N, K), the table of each symbol; by default column k has table k out of K.

    Raises
    ------
    ValueError
        Another shape, or a value that 32 bits cannot hold.
    """
    if symbols.dtype.kind not in "iu":
        raise TypeError(f"expected symbols of an integer dtype, got {symbols.dtype}")
    which = np.arange(len(tables))[None] if which is None else which
    if symbols.ndim != 2 or symbols.shape[1] != which.shape[1]:
        raise ValueError(f"expected symbols of shape (N, {which.shape[1]}), got {symbols.shape}")
    if symbols.size and not (symbols.min() >= -(1 << 31) and symbols.max() < 1 << 31):
        raise ValueError(f"expected symbols of 32 bits, got values from {symbols.min()} to {symbols.max()}")
    encoder = Encoder(*symbols.shape)
    steps = (part.T for part in (symbols, *tables.intervals(symbols, which)))
    for column, start, frequency, escaped in zip(*steps, strict=True):
        encoder.encode(start, frequency)
        if len(rows := np.flatnonzero(escaped)):
            raw = column[rows] + (1 << 31)
            for shift in (16, 0):
                encoder.encode((raw >> shift) & 0xFFFF, np.ones_like(raw), rows)
    return encoder.finish()


def decode(streams: Sequence[bytes], tables: Tables, which: Int64 | None = None) -> Int64:
    """Return the symbols, int64 (N, K), that `encode` turned into N streams.

    Raises
    ------
    ValueError
        A stream is longer than any that `encode` writes.
    """
    which = np.arange(len(tables))[None] if which is None else which
    limit = which.shape[1] * (PRECISION + _ESCAPE_BITS) // 8 + STATE_BITS // 8
    for stream in streams:
        if len(stream) > limit:
            raise ValueError(f"expected at most {limit} bytes for {which.shape[1]} symbols, got {len(stream)}")
    decoder = Decoder(streams)
    symbols = np.empty((len(streams), which.shape[1]), np.int64)
    for k, column in enumerate(which.T):
        symbols[:, k], starts, frequencies, escaped = tables.find(decoder.target(), column)
        decoder.advance(starts, frequencies)
        if len(rows := np.flatnonzero(escaped)):
            raw = np.zeros(len(rows), np.int64)
            for _ in range(2):
                half = decoder.target(rows)
                decoder.advance(half, np.ones_like(half), rows)
                raw = (raw << 16) | half
            symbols[rows, k] = raw - (1 << 31)
    return symbols


def information(symbols: Int64, tables: Tables) -> npt.NDArray[np.float64]:
    """Return the Shannon length in bits of each row of `symbols`, int64 (N, K), under K tables; escapes included."""
    _, frequencies, escaped = tables.intervals(symbols, np.arange(len(tables)))
    bits: npt.NDArray[np.float64] = (PRECISION - np.log2(frequencies) + escaped * _ESCAPE_BITS).sum(axis=1)
    return bits
