"""AV1 data: the units that they consist of, and what the headers say of the sizes of frames.

Sections named here are those of the AV1 Bitstream & Decoding Process Specification (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

SEQUENCE, FRAMES = 1, (3, 6, 7)  # types of units, 6.2.2: sequence headers, and those that begin with a frame header
_KEY, _SWITCH = 0, 3  # types of frames, 6.8.2


class Bits:
    """Numbers of any count of bits, read one after the other from data that errors call by a name."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name, self._at = data, name, 0

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number; ValueError if they are not there."""
        start, self._at = self._at, self._at + count
        end = -(-self._at // 8)
        if end > len(self._data):
            raise ValueError(f"expected {self._name}, got its end after {len(self._data)} bytes")
        return int.from_bytes(self._data[start // 8 : end], "big") >> (8 * end - self._at) & ((1 << count) - 1)


@dataclass(frozen=True)
class Sequence:
    """What a sequence header says of the sizes of frames, in pixels, and of the bits that stand before them.

    Attributes
    ----------
    size, largest : (W, H)
        Of frames that name no size, and the largest that a frame can name.
    reduced : bool
        Whether it is the short header of still pictures, whose frames name no size.
    time_bits, number_bits : int
        Of a frame's presentation time and number; 0 where frames have none.
    tools, vectors : {0, 1, 2}
        seq_force_screen_content_tools and seq_force_integer_mv; each frame says what is 2.
    """

    size: tuple[int, int]
    largest: tuple[int, int]
    reduced: bool
    time_bits: int = 0
    number_bits: int = 0
    tools: int = 2
    vectors: int = 2


def units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the first byte and the body of each unit (5.3)."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1  # behind an extension
        length, at = _length(data, at) if head & 2 else (len(data) - at, at)
        if not 0 <= length <= len(data) - at:
            raise ValueError(f"expected an AV1 unit of {length} bytes at byte {at}, got {len(data) - at} bytes")
        yield head, data[at : at + length]
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of up to 8 bytes, 7 bits of it in each, that stands at `at`, and where it ends (4.10.5)."""
    length = 0
    for shift, byte in enumerate(data[at : at + 8]):
        length |= (byte & 127) << 7 * shift
        if byte < 128:
            return length, at + shift + 1
    raise ValueError(f"expected the length of an AV1 unit at byte {at}, got no end of it")


def sequence(body: bytes) -> Sequence:
    """Return what a sequence header says (5.5.1)."""
    take = Bits(body, "an AV1 sequence header").take
    delay_bits = time_bits = 0
    _, still, reduced = take(3), take(1), take(1)
    if reduced > still:
        raise ValueError("expected a still picture behind a reduced AV1 sequence header, got none")
    if reduced:
        take(5)  # level
    else:
        if take(1):  # timing_info
            take(64)
            if equal := take(1):
                _skip_number(take)
            if take(1):  # decoder_model_info
                delay_bits, _, _, time_bits = take(5) + 1, take(32), take(5), take(5) + 1
                time_bits *= 1 - equal
        delayed = take(1)
        for _ in range(take(5) + 1):  # operating points
            take(12)
            if take(5) > 7:  # level
                take(1)
            if delay_bits and take(1):
                take(2 * delay_bits + 1)
            if delayed and take(1):
                take(4)
    bits = take(4) + 1, take(4) + 1
    size, largest = (take(bits[0]) + 1, take(bits[1]) + 1), (1 << bits[0], 1 << bits[1])
    if reduced:
        return Sequence(size, largest, reduced=True)
    number_bits = take(4) + take(3) + 3 if take(1) else 0
    take(7)  # superblocks, filters, four ways of prediction between frames
    if take(1):  # order_hint
        take(2)
    tools = 2 if take(1) else take(1)
    vectors = 2 if not tools or take(1) else take(1)
    return Sequence(size, largest, False, time_bits, number_bits, tools, vectors)


def _skip_number(take: Callable[[int], int]) -> None:
    """Skip a number of any length (4.10.3); after 32 zeros the specification and dav1d go on at different bits."""
    zeros = 0
    while not take(1):
        zeros += 1
        if zeros == 32:
            raise ValueError("expected a number below 2**32 - 1 in an AV1 sequence header, got 32 zeros")
    take(zeros)


def names_size(sequence: Sequence, body: bytes) -> bool:
    """Return whether a frame header (5.9.2) says the size of its frame itself."""
    if sequence.reduced:
        return False
    take = Bits(body, "an AV1 frame header").take
    if take(1):  # an earlier frame, shown now
        return False
    kind, shown = take(2), take(1)
    take(sequence.time_bits if shown else 1)
    if kind != _SWITCH and not (kind == _KEY and shown):
        take(1)
    take(1)
    tools = take(1) if sequence.tools == 2 else sequence.tools
    if tools and sequence.vectors == 2:
        take(1)
    take(sequence.number_bits)
    return kind == _SWITCH or take(1) == 1
