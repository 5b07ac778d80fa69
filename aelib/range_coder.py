"""A range coder of many streams at once.

It is Martin's range coder (1979) with bytes as digits and a 48-bit range. N streams run in lock-step: each step codes
one symbol of every stream with numpy's integer arithmetic, so that it is exact on every platform, needs no compiled
code of our own, and is fast whenever many images are coded together. Carries are kept in the digits and resolved once
at the end. A stream ends with the shortest byte string inside the last interval, and trailing zero bytes, which the
decoder supplies, are dropped: on average a third of a byte above the information content.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

PRECISION = 16  # probabilities are multiples of 2**-16
STATE_BITS = 48
_TOP = 1 << STATE_BITS
_FLOOR = 1 << (STATE_BITS - 8)


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
            self._digits[at, length] = low[small] >> (STATE_BITS - 8)
            self._length[at] += 1
            low[small] = (low[small] & (_FLOOR - 1)) << 8
            width[small] <<= 8
        self._low[rows], self._range[rows] = low, width

    def finish(self) -> list[bytes]:
        """Return one stream per row, as short as it can be."""
        low, high = self._low, self._low + self._range
        ending = np.zeros_like(low)
        for kept in range(STATE_BITS, -1, -8):
            # A multiple of a larger power of two needs fewer bytes: the first that fits wins. Zero means none yet.
            candidate = ((low + (1 << kept) - 1) >> kept) << kept
            ending = np.where((candidate < high) & (ending == 0), candidate + 1, ending)
        ending -= 1
        rows = np.arange(len(low))
        for index in range(STATE_BITS // 8):
            shift = STATE_BITS - 8 * (index + 1)
            digit = ending >> shift
            self._digits[rows, self._length + index] = digit if index == 0 else digit & 255
        for column in range(self._digits.shape[1] - 1, 0, -1):
            self._digits[:, column - 1] += self._digits[:, column] >> 8
        written, width = (self._digits & 255).astype(np.uint8).tobytes(), self._digits.shape[1]
        return [written[start : start + width].rstrip(b"\0") for start in range(0, len(written), width)]


class Decoder:
    """Range decoder of many streams; the mirror image of `Encoder`."""

    def __init__(self, streams: Sequence[bytes]) -> None:
        width = max(map(len, streams), default=0) + STATE_BITS // 8 + 2
        joined = b"".join(stream.ljust(width, b"\0") for stream in streams)
        padded = np.frombuffer(joined, np.uint8).reshape(len(streams), width)
        self._bytes = padded
        self._position = np.full(len(streams), STATE_BITS // 8, np.int64)
        self._range = np.full(len(streams), _TOP, np.int64)
        self._value = np.zeros(len(streams), np.int64)
        for column in range(STATE_BITS // 8):
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


class Single:
    """Range decoder of one stream: does as `Decoder`, in whole numbers of Python, which are faster for few streams."""

    def __init__(self, stream: bytes) -> None:
        size = STATE_BITS // 8
        self._value, self._range = int.from_bytes(stream[:size].ljust(size, b"\0"), "big"), _TOP
        self._rest = iter(stream[size:])

    def target(self, bits: int = PRECISION) -> int:
        """Return the number in [0, 2**bits) that lies in the next symbol's interval."""
        return min(self._value // (self._range >> bits), (1 << bits) - 1)

    def advance(self, start: int, frequency: int, bits: int = PRECISION) -> None:
        """Step over the symbol that occupies [start, start + frequency) out of 2**bits."""
        step = self._range >> bits
        value, width = self._value - step * start, step * frequency
        while width < _FLOOR:
            value, width = value << 8 | next(self._rest, 0), width << 8
        self._value, self._range = min(value, width - 1), width
