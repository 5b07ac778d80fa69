"""What a picture stream would cost to decode, read from its headers, so that a hostile one is refused before it does.

A file of a few hundred bytes may ask a decoder for gigabytes: in a second size that contradicts the first, in a million
tiles or precincts, in compressed comments. Each function here raises ValueError for what no encoder of ours writes.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator

from aelib import containers

JPEG_SCANS = 100  # a progressive file of any common encoder has about ten
JPEG2000_TILES, JPEG2000_LAYERS, JPEG2000_BLOCK = 1024, 64, 1024  # the last in values of the smallest code-block
# Those that have a segment, and the end mark; what a decoder takes for damaged data may be no way around a scan.
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def check_jpeg(stream: bytes) -> None:
    """Refuse a JPEG file of more than `JPEG_SCANS` scans before its end mark; phones put films behind it."""
    if stream.count(b"\xff\xda") > JPEG_SCANS and (scans := _jpeg_scans(stream)) > JPEG_SCANS:
        raise ValueError(f"expected at most {JPEG_SCANS} scans in a JPEG file, got {scans}")


def _jpeg_scans(stream: bytes) -> int:
    """Return how many scans a decoder would go through, as it finds its way from marker to marker."""
    scans, at = 0, 2
    while (found := _JPEG_MARKER.search(stream, at)) and found[0] != b"\xff\xd9":
        scans += found[0] == b"\xff\xda"
        at = found.end() + int.from_bytes(stream[found.end() : found.end() + 2], "big")
    return scans


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive whose members are compressed, or are together larger than its own `size` in bytes."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("expected an archive that is not compressed, got one that is")
    if (total := sum(member.file_size for member in members)) > size:
        raise ValueError(f"expected members of at most {size} bytes together, got {total}")


def png_pixels(stream: bytes) -> bytes:
    """Return a PNG file without the chunks that its pixels do not need, compressed texts among them."""
    kept, at = [stream[:8]], 8
    while at + 8 <= len(stream):
        length, kind = struct.unpack_from(">I4s", stream, at)
        if kind in _PNG_NEEDED:
            kept.append(stream[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def check_jpeg2000(stream: bytes) -> None:
    """Refuse a JPEG 2000 codestream (ISO/IEC 15444-1, annex A) whose parts would cost more than its pixels.

    That is: components other than one or three of 8 bits, or more than so many tiles, layers, or precincts and
    code-blocks of less than so many values.
    """
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 45:
        raise ValueError(f"expected a JPEG 2000 codestream, ff 4f ff 51, got {stream[:4].hex(' ')}")
    width, height, _, _, tile_width, tile_height, left, top, count = struct.unpack_from(">8IH", stream, 8)
    if count not in (1, 3) or (components := stream[42 : 42 + 3 * count]) != b"\x07\x01\x01" * count:
        said = f"{count} components" if count not in (1, 3) else components.hex(" ")
        raise ValueError(f"expected one or three components of 8 bits, got {said}")
    columns, rows = -(-(width - left) // max(tile_width, 1)), -(-(height - top) // max(tile_height, 1))
    if columns * rows > JPEG2000_TILES:
        raise ValueError(f"expected at most {JPEG2000_TILES} tiles, got {columns} by {rows}")
    for marker, body in _jpeg2000_segments(stream):
        if marker in (0x52, 0x53):  # COD; COC, which has the component's number first and no layers
            style, levels = (body[0], 5) if marker == 0x52 else (body[1], 2)  # the latter's place
            block, precincts = body[levels + 1 : levels + 3], body[levels + 5 :] if style & 1 else b""
            if marker == 0x52 and (layers := int.from_bytes(body[2:4], "big")) > JPEG2000_LAYERS:
                raise ValueError(f"expected at most {JPEG2000_LAYERS} layers, got {layers}")
            if 1 << (sum(block) + 4) < JPEG2000_BLOCK:
                raise ValueError(f"expected code-blocks of {JPEG2000_BLOCK} values or more, got {block.hex(' ')}")
            if any(1 << ((size & 15) + (size >> 4)) < JPEG2000_BLOCK for size in precincts):
                raise ValueError(f"expected precincts of {JPEG2000_BLOCK} values or more, got {precincts.hex(' ')}")


def _jpeg2000_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the second byte of the marker and the body of each segment of the main header and all tile-part headers."""
    at, end = 2, len(stream)
    while at + 4 <= len(stream):
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at] != 0xFF or marker == 0xD9:
            return
        if marker == 0x93:  # data, up to the end of the tile-part
            if end <= at:
                raise ValueError(f"expected a tile-part that ends behind byte {at}, got one that ends at {end}")
            at = end
            continue
        body = stream[at + 4 : at + 2 + length]
        if len(body) < max(length - 2, {0x52: 10, 0x53: 7, 0x90: 8}.get(marker, 0)):
            raise ValueError(f"expected a segment at byte {at}, got {stream[at : at + 8].hex(' ')}")
        if marker == 0x90:
            end = at + (int.from_bytes(body[2:6], "big") or len(stream) - at)
        yield marker, body
        at += 2 + length


def check_avif(stream: bytes, max_pixels: int) -> None:
    """Refuse an AVIF file that hides its picture, or whose AV1 sequence header claims more than `max_pixels`.

    The one coded picture must be the whole of the one mdat box, as `iloc` says (ISO/IEC 14496-12, 8.11.3), and each of
    its units must have a length; sequence headers must be the short ones of still pictures (AV1 Bitstream & Decoding
    Process Specification, 2019, 5.5.1).
    """
    boxes = list(containers.boxes(stream))
    bodies = [body for kind, body in boxes if kind == b"mdat"]
    metas = [dict(containers.boxes(body[4:])) for kind, body in boxes if kind == b"meta"]
    if len(bodies) != 1 or len(metas) != 1 or b"idat" in metas[0] or b"iloc" not in metas[0]:
        raise ValueError(f"expected one mdat and one meta box, got {[kind.decode('latin-1') for kind, _ in boxes]}")
    data, at = bodies[0], 0
    if _avif_extents(metas[0][b"iloc"]) != [(stream.index(data, stream.index(b"mdat")), len(data))]:
        raise ValueError("expected one coded picture that fills the mdat box, got other extents")
    while at < len(data):
        start, length = at + 1, 0
        if data[at] & 0x86 != 2:  # forbidden bit, extension, length: only the last is set
            raise ValueError(f"expected an AV1 unit with a length at byte {at}, got {data[at]:#04x}")
        for shift in range(0, 35, 7):
            if start >= len(data):
                raise ValueError("expected the length of an AV1 unit, got the end of the data")
            length |= (data[start] & 127) << shift
            start += 1
            if data[start - 1] < 128:
                break
        if data[at] >> 3 == 1:
            width, height = _av1_size(data[start : start + length])
            if width * height > max_pixels:
                raise ValueError(f"expected at most {max_pixels} pixels, got {width}x{height} in the AV1 sequence")
        at = start + length


def _avif_extents(iloc: bytes) -> list[tuple[int, int]]:
    """Return (offset, length) of every extent of every item, of the plain versions of the box."""
    version, sizes = iloc[0], struct.unpack_from(">H", iloc, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version > 1 or index_size:
        raise ValueError(f"expected an iloc box of version 0 or 1 without indices, got version {version}")
    at = 8

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > len(iloc):
            raise ValueError("expected another extent, got the end of the iloc box")
        return int.from_bytes(iloc[at - count : at], "big")

    extents = []
    for _ in range(struct.unpack_from(">H", iloc, 6)[0]):
        if take(2) and version == 1 and take(2):
            raise ValueError("expected items that lie in the file, got another construction")
        if take(2):
            raise ValueError("expected items of this file, got a reference to another")
        base = take(base_size)
        extents += [(base + take(offset_size), take(length_size)) for _ in range(take(2))]
    return extents


def _av1_size(header: bytes) -> tuple[int, int]:
    """Return (W, H) in pixels of the largest frame that an AV1 sequence header of a still picture allows."""
    bits, length, at = int.from_bytes(header, "big"), 8 * len(header), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > length:
            raise ValueError(f"expected an AV1 sequence header, got {len(header)} bytes")
        return bits >> (length - at) & ((1 << count) - 1)

    profile_still_reduced = take(3), take(1), take(1)
    if profile_still_reduced[1:] != (1, 1):
        raise ValueError(f"expected the sequence header of a still picture, got {header[:2].hex(' ')}")
    take(5)  # level
    sizes = take(4) + 1, take(4) + 1
    return take(sizes[0]) + 1, take(sizes[1]) + 1
