"""What a picture stream would cost to decode, read from its headers, so that a hostile one is refused before it does.

A file of a few hundred bytes may ask a decoder for gigabytes: in a second size that contradicts the first, in a million
tiles or precincts, in compressed comments. Each function here raises ValueError for what no encoder of ours writes.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Iterator

JPEG_SCANS = 100  # a progressive file of any common encoder has about ten
_JPEG_VISITS = 24 << 24  # pixels that all scans together go over; libjpeg writes 18 scans of four components
JPEG2000_TILES, JPEG2000_LAYERS, JPEG2000_BLOCK = 1024, 64, 1024  # the last in values of the smallest code-block
# Those that have a segment, and the end mark; what a decoder takes for damaged data may be no way around a scan.
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
_TIFF_TILE = (322, 323)  # tags of a tile's columns and rows
_TIFF_TYPES = {3: "H", 4: "I"}
_BMP_RUNS, _BMP_PIXELS = (1, 2), 1 << 18  # the compressions RLE8 and RLE4, and how large such files may be
_TIFF_ENTRIES = 4096  # of a directory; cameras write some dozens
_PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Refused(ValueError):
    """A picture that may be whole, but is of more pixels or pictures than asked for."""


def check_jpeg(stream: bytes, pixels: int = 1) -> None:
    """Refuse a JPEG file of more than `JPEG_SCANS` scans, of fewer if it is large; phones put films behind its end."""
    limit = min(JPEG_SCANS, _JPEG_VISITS // max(pixels, 1))
    if stream.count(b"\xff\xda") > limit and (scans := _jpeg_scans(stream)) > limit:
        raise ValueError(f"expected at most {limit} scans in a JPEG file of its size, got {scans}")


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


def png_pixels(stream: bytes, *more: bytes) -> bytes:
    """Return a PNG file without the chunks that its pixels do not need, compressed texts among them, but for `more`."""
    kept, at = [stream[:8]], 8
    while at + 8 <= len(stream):
        length, kind = struct.unpack_from(">I4s", stream, at)
        if kind in _PNG_NEEDED or kind in more:
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


def check_bmp(stream: bytes, pixels: int) -> None:
    """Refuse a large BMP file that is compressed: Pillow goes over its runs one by one, in Python."""
    if pixels > _BMP_PIXELS and stream[14] >= 40 and stream[30] in _BMP_RUNS:
        raise ValueError(f"expected at most {_BMP_PIXELS} pixels in a compressed BMP file, got {pixels}")


def check_tiff(stream: bytes, max_side: int) -> None:
    """Refuse a TIFF file in whose first picture tiles may have more than `max_side` rows or columns.

    Read are the entries of the directory themselves (TIFF 6.0, 1992, section 2; BigTIFF has the same in 64 bits), for
    of two of one kind one library believes the first, another the last, and not all know all types of numbers.
    """
    order, big = "<" if stream[:2] == b"II" else ">", 43 in stream[2:4]
    start, length = (8, 20) if big else (4, 12)
    at = _number(stream, start, order + ("Q" if big else "I"))
    count, at = _number(stream, at, order + ("Q" if big else "H")), at + (8 if big else 2)
    if count > _TIFF_ENTRIES:
        raise ValueError(f"expected at most {_TIFF_ENTRIES} entries in the directory of a TIFF file, got {count}")
    for entry in range(at, at + length * count, length):
        tag, kind = _number(stream, entry, order + "H"), _number(stream, entry + 2, order + "H")
        if tag in _TIFF_TILE:
            number = _number(stream, entry + 4, order + ("Q" if big else "I"))
            if number != 1 or kind not in _TIFF_TYPES:
                raise ValueError(
                    f"expected one short or long number as the size of a tile, got {number} of type {kind}"
                )
            if (side := _number(stream, entry + length - (8 if big else 4), order + _TIFF_TYPES[kind])) > max_side:
                raise Refused(f"expected tiles of at most {max_side}x{max_side} pixels, got a side of {side} pixels")


def _number(stream: bytes, at: int, layout: str) -> int:
    """Return the number at a byte; ValueError if the stream ends before."""
    if at + struct.calcsize(layout) > len(stream):
        raise ValueError(f"expected a number at byte {at}, got {len(stream)} bytes")
    return int(struct.unpack_from(layout, stream, at)[0])
