"""What an AVIF file would cost to decode, read from its boxes and its AV1 headers before a decoder sees them.

Its boxes may say 32x32 where the coded picture has 12800x12800 pixels, and decoders believe the latter. Sections named
here are those of ISO/IEC 14496-12.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from aelib import av1, containers, guards

_PARTS = 1 << 14  # of one kind: boxes in a box, items, extents, units; a grid of 64x64 pictures has a quarter of them
_PICTURES = 8  # whole ones in a file: layers of colour, alpha, a map of gains, a small one
_SHARED = 1 << 24  # bytes by which coded pictures may exceed the file, as those in a grid that are alike share them


class _Extent(NamedTuple):
    """Where a piece of an item lies: `method` 0 counts bytes from the start of the file, 1 from that of idat's body."""

    item: int
    method: int
    reference: int
    offset: int
    length: int


def check_stream(stream: bytes, max_pixels: int) -> None:
    """Refuse a stream of our codec that hides its picture, or whose AV1 sequence header claims more than `max_pixels`.

    The one coded picture must be the whole of the one mdat box, as `iloc` says (8.11.3), and each of its units must
    have a length; sequence headers must be the short ones of still pictures. Raises ValueError.
    """
    boxes = list(containers.boxes(stream))
    bodies = [body for kind, body in boxes if kind == b"mdat"]
    metas = [dict(containers.boxes(body[4:])) for kind, body in boxes if kind == b"meta"]
    if len(bodies) != 1 or len(metas) != 1 or b"idat" in metas[0] or b"iloc" not in metas[0]:
        raise ValueError(f"expected one mdat and one meta box, got {[kind.decode('latin-1') for kind, _ in boxes]}")
    data, iloc = bodies[0], metas[0][b"iloc"]
    extents = _extents(iloc)
    if iloc[0] > 1 or iloc[5] & 15:
        raise ValueError(f"expected an iloc box of version 0 or 1 without indices, got version {iloc[0]}")
    if [extent[1:] for extent in extents] != [(0, 0, stream.index(data, stream.index(b"mdat")), len(data))]:
        raise ValueError("expected one coded picture that fills the mdat box, got other extents")
    for head, body in av1.units(data):
        if head & 0x86 != 2:  # forbidden bit, extension, length: only the last is set
            raise ValueError(f"expected AV1 units with a length, got one that begins with {head:#04x}")
        if head >> 3 == av1.SEQUENCE:
            sequence = av1.sequence(body)
            if not sequence.reduced:
                raise ValueError(f"expected the sequence header of a still picture, got {body[:2].hex(' ')}")
            width, height = sequence.size
            if width * height > max_pixels:
                raise ValueError(f"expected at most {max_pixels} pixels, got {width}x{height} in the AV1 sequence")


def check_photograph(stream: bytes, max_side: int) -> None:
    """Refuse an AVIF file in which any coded picture may have more than `max_side` rows or columns.

    That is any item of type av01, be it the picture, its alpha, a part of a grid or a thumbnail: not all are decoded,
    but none of an honest file is larger.

    Parameters
    ----------
    stream : bytes
        A file by whichever encoder.
    max_side : int
        In pixels. Frames that name their own size are judged by the bits that they name it with.

    Raises
    ------
    guards.Refused
        A picture is larger, all together are many times as large, or the file is a film.
    ValueError
        The file is damaged.
    """
    units, pixels, limit = 0, 0, f"expected at most {max_side}x{max_side} pixels"
    for data in _coded_pictures(stream):
        sequence = None
        for head, body in av1.units(data):
            units += 1
            if units > _PARTS:
                raise ValueError(f"expected at most {_PARTS} AV1 units, got more")
            kind = head >> 3 & 15
            if kind == av1.SEQUENCE:
                sequence = av1.sequence(body)
                if max(sequence.size) > max_side:
                    width, height = sequence.size
                    raise guards.Refused(f"{limit}, got {width}x{height} in the AV1 sequence header")
            elif kind in av1.FRAMES:
                if sequence is None:
                    raise ValueError("expected an AV1 sequence header before any frame, got none")
                width, height = sequence.largest if av1.names_size(sequence, body) else sequence.size
                if max(width, height) > 1 << (max_side - 1).bit_length():
                    raise guards.Refused(f"{limit}, got an AV1 frame that names its size, up to {width}x{height}")
                pixels += width * height
    if pixels > _PICTURES * max_side**2:
        raise guards.Refused(f"{limit} in each of {_PICTURES} coded pictures, got {pixels} in all")


def _coded_pictures(stream: bytes) -> Iterator[bytes]:
    """Yield the AV1 data of each item of type av01 (8.11)."""
    boxes = list(_boxes(stream))
    kinds = [kind for kind, _ in boxes]
    if b"moov" in kinds:
        raise guards.Refused("expected a still picture, got an AVIF file with a moov box, which is a film")
    if kinds.count(b"meta") != 1:
        raise ValueError(f"expected one meta box, got {kinds.count(b'meta')}")
    meta = list(_boxes(dict(boxes)[b"meta"][4:]))
    kinds, parts = [kind for kind, _ in meta], dict(meta)
    if kinds.count(b"iinf") != 1 or kinds.count(b"iloc") != 1 or kinds.count(b"idat") > 1:
        raise ValueError("expected one iinf, one iloc and one or no idat box in the meta box, got others")
    known = set(_av1_items(parts[b"iinf"]))
    extents = [one for one in _extents(parts[b"iloc"]) if one.item in known]
    if (total := sum(one.length for one in extents)) > len(stream) + _SHARED:
        raise ValueError(f"expected coded pictures of {len(stream)} bytes, got {total}")
    sources = {0: stream, 1: parts.get(b"idat", b"")}
    for _, own in itertools.groupby(extents, lambda one: one.item):
        pieces = []
        for _, method, _, offset, length in own:
            if offset + length > len(sources.get(method, b"")):
                raise ValueError(f"expected bytes of the file, got {offset} to {offset + length} by method {method}")
            pieces.append(sources[method][offset : offset + length])
        yield b"".join(pieces)


def _boxes(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and body of each box (4.2), with lengths of 64 bits too."""
    at = 0
    for _ in range(_PARTS):
        if at == len(stream):
            return
        length, head, left = int.from_bytes(stream[at : at + 4], "big"), 8, len(stream) - at
        if length == 1:
            length, head = int.from_bytes(stream[at + 8 : at + 16], "big"), 16
        length = length or left
        if not head <= length <= left:
            raise ValueError(f"expected a box of {length} bytes at byte {at}, got {left} bytes")
        yield stream[at + 4 : at + 8], stream[at + head : at + length]
        at += length
    raise ValueError(f"expected at most {_PARTS} boxes, got more")


def _av1_items(iinf: bytes) -> Iterator[int]:
    """Yield the numbers of the items of type av01 (8.11.6)."""
    for _, body in _boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        entry = av1.Bits(body, "an infe box")
        version = entry.take(32) >> 24  # behind it three bytes of flags
        item, _ = entry.take(32 if version == 3 else 16), entry.take(16)
        if entry.take(32).to_bytes(4, "big") == b"av01":
            yield item


def _extents(iloc: bytes) -> list[_Extent]:
    """Return every extent of every item (8.11.3)."""
    take = av1.Bits(iloc, "an iloc box").take
    version = take(32) >> 24
    sizes = [8 * take(4) for _ in range(4)]
    width = 32 if version == 2 else 16
    if version > 2 or (count := take(width)) > _PARTS:
        raise ValueError(f"expected an iloc box of version 0 to 2 and {_PARTS} items, got {iloc[:12].hex(' ')}")
    found: list[_Extent] = []
    for _ in range(count):
        item, method = take(width), take(16) if version else 0
        reference, base = take(16), take(sizes[2])
        for _ in range(take(16)):
            take(sizes[3] if version else 0)
            found.append(_Extent(item, method, reference, base + take(sizes[0]), take(sizes[1])))
            if len(found) > _PARTS:
                raise ValueError(f"expected at most {_PARTS} extents, got more")
    return found
