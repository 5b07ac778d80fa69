"""Symbols of one picture in lanes that are coded side by side, so that a large picture takes no longer than many small.

A lane holds up to 64 places of a picture with all their channels, 64x64 pixels of the codec for CIFAR-10. Pictures of
one lane are that lane; in all others each lane stands behind its length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aelib import containers
from aelib.entropy import TOTAL
from aelib.exact import ESCAPE_BITS, FILLING, Integer
from aelib.range_coder import PRECISION, Decoder, Encoder, Int64, Single

PLACES = 64
FEW = 16  # lanes, up to which they are read one after the other


def lanes(places: int) -> int:
    """Return the number of lanes of a picture with so many places."""
    return -(-places // PLACES)


def _laid(values: Int64, filling: int) -> Int64:
    """Turn values (N, C, h, w) into one row per step of coding and one column per lane, (steps, N * lanes)."""
    count, channels, height, width = values.shape
    own = lanes(height * width)
    length = -(-height * width // own)
    wide = np.pad(
        values.reshape(count, channels, -1),
        ((0, 0), (0, 0), (0, own * length - height * width)),
        constant_values=filling,
    )
    return wide.reshape(count, channels, own, length).transpose(1, 3, 0, 2).reshape(channels * length, count * own)


def _gathered(rows: Int64, shape: tuple[int, ...]) -> Int64:
    """Undo `_laid`."""
    count, channels, height, width = shape
    own = lanes(height * width)
    values = rows.reshape(channels, -1, count, own).transpose(2, 0, 3, 1).reshape(count, channels, -1)
    return values[:, :, : height * width].reshape(shape)


class _Squeezed:
    """Which symbols of scales (N, C, h, w) are coded, those that are not `FILLING`, and in which step of their lane.

    `scales` are the coded ones step by step, (steps, lanes), with `FILLING` behind a lane's last.
    """

    def __init__(self, scales: Int64) -> None:
        laid = _laid(scales, FILLING)
        self._lane, self._row = np.nonzero((laid != FILLING).T)
        counts = np.bincount(self._lane, minlength=laid.shape[1])
        self._step = np.arange(len(self._lane)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._laid, self._shape = laid.shape, (int(counts.max()), laid.shape[1])
        self._whole, self.scales = scales.shape, self._together(laid, FILLING)

    def symbols(self, symbols: Int64) -> Int64:
        """Return symbols (N, C, h, w) as the scales are, with 0 behind a lane's last."""
        return self._together(_laid(symbols, 0), 0)

    def _together(self, rows: Int64, filling: int) -> Int64:
        values = np.full(self._shape, filling)
        values[self._step, self._lane] = rows[self._row, self._lane]
        return values

    def apart(self, values: Int64) -> Int64:
        """Undo `symbols`, with 0 for what is not coded."""
        rows = np.zeros(self._laid, np.int64)
        rows[self._row, self._lane] = values[self._step, self._lane]
        return _gathered(rows, self._whole)


def write(prior: Integer, symbols: Int64, scales: Int64) -> list[bytes]:
    """Code symbols with the tables of their scales, both int64 (N, C, h, w), into N payloads, pass by pass."""
    own = lanes(symbols.shape[2] * symbols.shape[3])
    squeezed = _Squeezed(prior.ordered(scales, FILLING))
    rows = squeezed.symbols(prior.ordered(symbols, 0))
    starts, frequencies, escaped = prior.intervals(rows, squeezed.scales)
    encoder = Encoder(rows.shape[1], len(rows))
    for step, some in enumerate(escaped):
        encoder.encode(starts[step], frequencies[step])
        if len(at := np.flatnonzero(some)):
            encoder.encode(rows[step, at] + (1 << ESCAPE_BITS >> 1), np.ones_like(at), at, ESCAPE_BITS)
    parts = encoder.finish()
    if own == 1:
        return parts
    return [containers.join(parts[at : at + own]) for at in range(0, len(parts), own)]


class Reader:
    """Reads what `write` wrote, some channels at a time.

    Raises
    ------
    ValueError
        A payload is not of as many lanes as the picture has, or a lane is longer than any that `write` writes.
    """

    def __init__(self, prior: Integer, payloads: Sequence[bytes], places: int) -> None:
        own = lanes(places)
        parts = [part for payload in payloads for part in (containers.split(payload, own) if own > 1 else [payload])]
        limit = prior.channels * -(-places // own) * (PRECISION + ESCAPE_BITS) // 8 + 6
        if (longest := max(map(len, parts))) > limit:
            raise ValueError(f"expected at most {limit} bytes for {places} places, got {longest}")
        few = len(parts) <= FEW
        self._prior, self._singles = prior, [Single(part) for part in parts if few]
        self._decoder = Decoder([] if few else parts)

    def read(self, scales: Int64) -> Int64:
        """Return the next symbols, those of `scales`, int64 (N, m, h, w)."""
        squeezed = _Squeezed(scales)
        if self._singles:
            own = zip(self._singles, squeezed.scales.T.tolist(), strict=True)
            return squeezed.apart(np.array([self._lane(*one) for one in own]).T)
        found = np.empty_like(squeezed.scales)
        for step, own in enumerate(squeezed.scales):
            symbols, starts, frequencies, escaped = self._prior.find(self._decoder.target(), own)
            self._decoder.advance(starts, frequencies)
            if escaped.any():
                at = np.flatnonzero(escaped)
                raw = self._decoder.target(at, ESCAPE_BITS)
                self._decoder.advance(raw, np.ones_like(raw), at, ESCAPE_BITS)
                symbols[at] = raw - (1 << ESCAPE_BITS >> 1)
            found[step] = symbols
        return squeezed.apart(found)

    def _lane(self, decoder: Single, scales: list[int]) -> list[int]:
        """Return the next symbols of one lane."""
        found, find = [], self._prior.tables.find_one
        for scale in scales:
            coded = scale != FILLING
            symbol, start, frequency, escaped = find(decoder.target(), scale) if coded else (0, 0, TOTAL, False)
            decoder.advance(start, frequency)
            if escaped:
                raw = decoder.target(ESCAPE_BITS)
                decoder.advance(raw, 1, ESCAPE_BITS)
                symbol = raw - (1 << ESCAPE_BITS >> 1)
            found.append(symbol)
        return found
