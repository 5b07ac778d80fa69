"""Integers to bytes and back without loss: a range coder over many streams at once, and integer probability tables.

The coder is Martin's range coder (1979) with bytes as digits and a 48-bit range. N streams run in lock-step: each step
codes one symbol of every stream with numpy's integer arithmetic, so that it is exact on every platform, needs no
compiled code of our own, and is fast whenever many images are coded together. Carries are kept in the digits and
resolved once at the end. A stream ends with the shortest byte string inside the last interval, and trailing zero
bytes, which the decoder supplies, are dropped: on average a third of a byte above the information content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

PRECISION = 16  # probabilities are multiples of 2**-16
TOTAL = 1 << PRECISION
_STATE_BITS = 48
_TOP = 1 << _STATE_BITS
_FLOOR = 1 << (_STATE_BITS - 8)
_ESCAPE_BITS = 32


class Encoder:
    """Range encoder of `count` streams; one call codes one symbol in each of the streams `rows`."""

    def __init__(self, count: int, symbols: int) -> None:
        self._low = np.zeros(count, np.int64)
        self._range = np.full(count, _TOP, np.int64)
        self._length = np.zeros(count, np.int64)
        # A digit may exceed 255 by a carry that `finish` passes on; out of the first byte there is none.
        self._digits = np.zeros((count, 2 * symbols + 8), np.int32)

    def encode(self, start: Int64, frequency: Int64, rows: Int64 | slice = slice(None), bits: int = PRECISION) -> None:
        """Code symbols that occupy [start, start + frequency) out of 2**bits.

        Parameters
        ----------
        start, frequency : array of int64
            One entry per row; frequency at least 1.
        rows : array of int64 or slice
            The streams that take part; all by default.
        bits : int
            At most 16.
        """
        step = self._range[rows] >> bits
        low = self._low[rows] + step * start
        width = step * frequency
        index = np.arange(len(self._low))[rows]
        while (small := width < _FLOOR).any():
            at = index[small]
            length = self._length[at]
            if length.max(initial=0) + 8 >= self._digits.shape[1]:
                self._digits = np.pad(self._digits, ((0, 0), (0, self._digits.shape[1])))
            self._digits[at, length] = low[small] >> (_STATE_BITS - 8)
            self._length[at] += 1
            low[small] = (low[small] & (_FLOOR - 1)) << 8
            width[small] <<= 8
        self._low[rows], self._range[rows] = low, width

    def finish(self) -> list[bytes]:
        """Return one stream per row, as short as it can be."""
        low, high = self._low, self._low + self._range
        ending = np.zeros_like(low)
        for kept in range(_STATE_BITS, -1, -8):
            # A multiple of a larger power of two needs fewer bytes: the first that fits wins. Zero means none yet.
            candidate = ((low + (1 << kept) - 1) >> kept) << kept
            ending = np.where((candidate < high) & (ending == 0), candidate + 1, ending)
        ending -= 1
        rows = np.arange(len(low))
        for index in range(_STATE_BITS // 8):
            shift = _STATE_BITS - 8 * (index + 1)
            digit = ending >> shift
            self._digits[rows, self._length + index] = digit if index == 0 else digit & 255
        for column in range(self._digits.shape[1] - 1, 0, -1):
            self._digits[:, column - 1] += self._digits[:, column] >> 8
        written, width = (self._digits & 255).astype(np.uint8).tobytes(), self._digits.shape[1]
        return [written[start : start + width].rstrip(b"\0") for start in range(0, len(written), width)]


class Decoder:
    """Range decoder of many streams; the mirror image of `Encoder`."""

    def __init__(self, streams: Sequence[bytes]) -> None:
        width = max(map(len, streams), default=0) + _STATE_BITS // 8 + 2
        joined = b"".join(stream.ljust(width, b"\0") for stream in streams)
        padded = np.frombuffer(joined, np.uint8).reshape(len(streams), width)
        self._bytes = padded
        self._position = np.full(len(streams), _STATE_BITS // 8, np.int64)
        self._range = np.full(len(streams), _TOP, np.int64)
        self._value = np.zeros(len(streams), np.int64)
        for column in range(_STATE_BITS // 8):
            self._value = (self._value << 8) | padded[:, column]

    def target(self, rows: Int64 | slice = slice(None), bits: int = PRECISION) -> Int64:
        """Return per row the number in [0, 2**bits) that lies in the next symbol's interval."""
        target: Int64 = np.minimum(self._value[rows] // (self._range[rows] >> bits), (1 << bits) - 1)
        return target

    def advance(self, start: Int64, frequency: Int64, rows: Int64 | slice = slice(None), bits: int = PRECISION) -> None:
        """Step over the symbols that occupy [start, start + frequency) out of 2**bits."""
        step = self._range[rows] >> bits
        value = self._value[rows] - step * start
        width = step * frequency
        index = np.arange(len(self._value))[rows]
        while (small := width < _FLOOR).any():
            at = index[small]
            place = np.minimum(self._position[at], self._bytes.shape[1] - 1)
            value[small] = (value[small] << 8) | self._bytes[at, place]
            self._position[at] += 1
            width[small] <<= 8
        # Only a broken stream leaves the interval; held inside, it decodes to some symbols.
        self._value[rows], self._range[rows] = np.minimum(value, width - 1), width


@dataclass(frozen=True)
class Table:
    """Integer frequencies of one symbol: values `low`, `low` + 1, ..., and last an escape for all others.

    Attributes
    ----------
    low : int
        The smallest value with a frequency of its own.
    frequencies : array of int64
        At least 1 each, the last for the escape, their sum 2**16.
    """

    low: int
    frequencies: Int64

    def __post_init__(self) -> None:
        if len(self.frequencies) < 2 or self.frequencies.min() < 1 or self.frequencies.sum() != TOTAL:
            raise ValueError(
                f"expected two or more frequencies of at least 1 with sum {TOTAL}, got {len(self.frequencies)} "
                f"with sum {self.frequencies.sum()}"
            )

    @cached_property
    def starts(self) -> Int64:
        """Where each value's interval begins, with 2**16 at the end."""
        return np.concatenate([[0], np.cumsum(self.frequencies)]).astype(np.int64)


def fit_table(symbols: Int64) -> Table:
    """Return the table that suits `symbols`, int64 (N,): counts, each plus one half, scaled to the sum 2**16.

    >>> fit_table(np.array([3, 3, 3, 4])).frequencies
    array([45874, 19660,     2])
    """
    if symbols.ndim != 1 or not len(symbols):
        raise ValueError(f"expected one or more symbols of shape (N,), got {symbols.shape}")
    low, high = int(symbols.min()), int(symbols.max())
    if high - low >= TOTAL // 4:
        raise ValueError(f"expected symbols in a range of at most {TOTAL // 4} values, got {low} to {high}")
    counts = np.bincount(symbols - low) + 0.5
    spare = TOTAL - 2 - len(counts)
    frequencies = 1 + np.floor(counts / counts.sum() * spare).astype(np.int64)
    frequencies[frequencies.argmax()] += TOTAL - 2 - frequencies.sum()
    return Table(low, np.append(frequencies, 2))


def encode(symbols: Int64, tables: Sequence[Table]) -> list[bytes]:
    """Code each row of `symbols`, int64 (N, K), into one stream, column k with ``tables[k]``.

    Values outside a table are coded as its escape and 32 bits.

    Raises
    ------
    ValueError
        Another shape, or a value that 32 bits cannot hold.
    """
    if symbols.dtype.kind not in "iu":
        raise TypeError(f"expected symbols of an integer dtype, got {symbols.dtype}")
    if symbols.ndim != 2 or symbols.shape[1] != len(tables):
        raise ValueError(f"expected symbols of shape (N, {len(tables)}), got {symbols.shape}")
    if symbols.size and not (symbols.min() >= -(1 << 31) and symbols.max() < 1 << 31):
        raise ValueError(f"expected symbols of 32 bits, got values from {symbols.min()} to {symbols.max()}")
    encoder = Encoder(len(symbols), len(tables))
    for column, table in zip(symbols.T, tables, strict=True):
        escape = len(table.frequencies) - 1
        index = column - table.low
        inside = (index >= 0) & (index < escape)
        index = np.where(inside, index, escape)
        encoder.encode(table.starts[index], table.frequencies[index])
        if len(rows := np.flatnonzero(~inside)):
            raw = column[rows] + (1 << 31)
            for shift in (16, 0):
                encoder.encode((raw >> shift) & 0xFFFF, np.ones_like(raw), rows)
    return encoder.finish()


def decode(streams: Sequence[bytes], tables: Sequence[Table]) -> Int64:
    """Return the symbols, int64 (N, K), that `encode` turned into N streams.

    Raises
    ------
    ValueError
        A stream is longer than any that `encode` writes.
    """
    limit = len(tables) * (PRECISION + _ESCAPE_BITS) // 8 + _STATE_BITS // 8
    for stream in streams:
        if len(stream) > limit:
            raise ValueError(f"expected at most {limit} bytes for {len(tables)} symbols, got {len(stream)}")
    decoder = Decoder(streams)
    symbols = np.empty((len(streams), len(tables)), np.int64)
    for k, table in enumerate(tables):
        index = np.searchsorted(table.starts, decoder.target(), side="right") - 1
        decoder.advance(table.starts[index], table.frequencies[index])
        symbols[:, k] = table.low + index
        if len(rows := np.flatnonzero(index == len(table.frequencies) - 1)):
            raw = np.zeros(len(rows), np.int64)
            for _ in range(2):
                half = decoder.target(rows)
                decoder.advance(half, np.ones_like(half), rows)
                raw = (raw << 16) | half
            symbols[rows, k] = raw - (1 << 31)
    return symbols


def information(symbols: Int64, tables: Sequence[Table]) -> npt.NDArray[np.float64]:
    """Return the Shannon length in bits of each row of `symbols`, int64 (N, K), under the tables; escapes included."""
    bits = np.zeros(len(symbols))
    for column, table in zip(symbols.T, tables, strict=True):
        escape = len(table.frequencies) - 1
        index = column - table.low
        inside = (index >= 0) & (index < escape)
        bits += PRECISION - np.log2(table.frequencies[np.where(inside, index, escape)])
        bits += np.where(inside, 0, _ESCAPE_BITS)
    return bits
