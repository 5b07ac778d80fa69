"""What of a picture file is its own and what every file of a data set repeats, found by parsing the real bytes.

In shared-header accounting a stream is charged its payload, the bytes that these functions return, and one byte for its
quality. Not charged is what is the same for all images of one size, format and quality: signatures, boxes, sizes,
quantisation tables, standard Huffman tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence


def jpeg_payload(stream: bytes, *, huffman_tables: bool) -> bytes:
    """Return the entropy-coded segments of a JPEG file (ITU-T T.81, annex B).

    Parameters
    ----------
    stream : bytes
        A whole file.
    huffman_tables : bool
        Whether the tables were fitted to this image, so that their segments are its own as well.
    """
    if stream[:2] != b"\xff\xd8":
        raise ValueError(f"expected a JPEG file to begin with ff d8, got {stream[:2].hex(' ')}")
    own, at = bytearray(), 2
    while True:
        marker, start, end = _jpeg_segment(stream, at)
        if marker == 0xD9:
            return bytes(own)
        if marker == 0xC4 and huffman_tables:
            own += stream[start:end]
        if marker == 0xDA:
            at, end = end, _end_of_scan(stream, end)
            own += stream[at:end]
        at = end


def _jpeg_segment(stream: bytes, at: int) -> tuple[int, int, int]:
    """Return marker, begin and end of the segment at `at`."""
    if len(stream) < at + 2 or stream[at] != 0xFF:
        raise ValueError(f"expected a JPEG marker at byte {at}, got {stream[at : at + 2].hex(' ') or 'the end'}")
    marker = stream[at + 1]
    if marker == 0xD9:
        return marker, at, at + 2
    if len(stream) < at + 4:
        raise ValueError(f"expected a JPEG segment at byte {at}, got the end of the file")
    length = int.from_bytes(stream[at + 2 : at + 4], "big")
    return marker, at, at + 2 + max(length, 2)


def _end_of_scan(stream: bytes, at: int) -> int:
    """Return where the next marker stands that is neither a stuffed byte nor a restart."""
    while (at := stream.find(b"\xff", at)) >= 0 and at + 1 < len(stream):
        if stream[at + 1] != 0 and not 0xD0 <= stream[at + 1] <= 0xD7:
            return at
        at += 2
    raise ValueError("expected a marker after the JPEG scan, got the end of the file")


def png_payload(stream: bytes) -> bytes:
    """Return the compressed pixels of a PNG file: the contents of its IDAT chunks."""
    if stream[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"expected a PNG signature, got {stream[:8].hex(' ')}")
    chunks = _chunks(stream, 8, ">I4s", trailer=4)
    return b"".join(body for kind, body in chunks if kind == b"IDAT")


def webp_payload(stream: bytes) -> bytes:
    """Return the VP8 or VP8L chunk of a WebP file, less the signature and size that it begins with.

    RFC 6386, 9.1, and RFC 9649, 3.4: start code and size take 7 bytes behind VP8's frame tag; signature and size take
    the first 5 of VP8L.
    """
    if stream[:4] != b"RIFF" or stream[8:12] != b"WEBP":
        raise ValueError(f"expected RIFF ... WEBP, got {stream[:12].hex(' ')}")
    for kind, body in _chunks(stream, 12, "<4sI"):
        if kind == b"VP8 ":
            return body[:3] + body[10:]
        if kind == b"VP8L":
            return body[5:]
    raise ValueError("expected a VP8 or VP8L chunk in the WebP file, got none")


def avif_payload(stream: bytes) -> bytes:
    """Return the coded picture of an AVIF file: the contents of its mdat box, less the sequence header.

    AV1 Bitstream & Decoding Process Specification (2019), 5.3 to 5.5: a temporal delimiter and a sequence header with
    the picture's size may stand first; they are the same for all images of a data set.
    """
    if stream[4:8] != b"ftyp":
        raise ValueError(f"expected an ftyp box, got {stream[4:8].hex(' ')}")
    bodies = [body for kind, body in boxes(stream) if kind == b"mdat"]
    if not bodies:
        raise ValueError("expected an mdat box in the AVIF file, got none")
    data, at = b"".join(bodies), 0
    # Each unit begins with its type (2: delimiter, 1: sequence header) and a flag for a length, here below 128.
    while at + 1 < len(data) and data[at] >> 3 in (1, 2) and data[at] & 2 and data[at + 1] < 128:
        at += 2 + data[at + 1]
    return data[at:]


def jpeg2000_payload(stream: bytes) -> bytes:
    """Return the packets of a raw JPEG 2000 codestream (ITU-T T.800, annex A): what follows each SOD marker."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise ValueError(f"expected a JPEG 2000 codestream, ff 4f ff 51, got {stream[:4].hex(' ')}")
    own, at = bytearray(), 2
    while stream[at : at + 2] != b"\xff\x90":  # the main header ends where the first tile-part begins
        if at + 4 > len(stream):
            raise ValueError("expected a tile-part in the JPEG 2000 codestream, got its end")
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    while stream[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(stream[at + 6 : at + 10], "big") or len(stream) - at - 2
        data = stream.find(b"\xff\x93", at, at + length)
        if length < 14 or data < 0 or at + length > len(stream):
            raise ValueError(f"expected a tile-part of {length} bytes at byte {at}, got {len(stream) - at} bytes")
        own += stream[data + 2 : at + length]
        at += length
    return bytes(own)


def jpeg2000_size(stream: bytes) -> tuple[int, int]:
    """Return (H, W) in pixels from the SIZ marker of a raw JPEG 2000 codestream (ISO/IEC 15444-1, A.5.1)."""
    if stream[:4] != b"\xff\x4f\xff\x51" or len(stream) < 24:
        raise ValueError(f"expected a JPEG 2000 codestream, ff 4f ff 51, got {stream[:4].hex(' ')}")
    width, height, left, top = struct.unpack_from(">IIII", stream, 8)
    return max(height - top, 0), max(width - left, 0)


def jpegxl_size(stream: bytes) -> tuple[int, int]:
    """Return (H, W) in pixels from the SizeHeader of a raw JPEG XL codestream (ISO/IEC 18181-1, annex D)."""
    if stream[:2] != b"\xff\x0a":
        raise ValueError(f"expected a JPEG XL codestream, ff 0a, got {stream[:2].hex(' ')}")
    bits, at = int.from_bytes(stream[2:14], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (at - count) & ((1 << count) - 1)

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[take(3)]
    return height, height * ratio[0] // ratio[1] if ratio[0] else side()


def boxes(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and body of each top-level ISO base media box."""
    at = 0
    while at < len(stream):
        if at + 8 > len(stream):
            raise ValueError(f"expected a box at byte {at}, got the end of the file")
        length, kind = struct.unpack_from(">I4s", stream, at)
        length = length or len(stream) - at
        if length < 8 or at + length > len(stream):
            raise ValueError(f"expected a box of {length} bytes at byte {at}, got {len(stream) - at} bytes")
        yield kind, stream[at + 8 : at + length]
        at += length


def _chunks(stream: bytes, at: int, layout: str, trailer: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and body of each chunk; RIFF pads bodies to even length, PNG puts a checksum behind them."""
    while at + 8 <= len(stream):
        first, second = struct.unpack_from(layout, stream, at)
        kind, length = (first, second) if isinstance(first, bytes) else (second, first)
        if at + 8 + length > len(stream):
            raise ValueError(f"expected a chunk of {length} bytes at byte {at}, got {len(stream) - at - 8} bytes")
        yield kind, stream[at + 8 : at + 8 + length]
        at += 8 + length + (trailer or length % 2)


def join(streams: Sequence[bytes]) -> bytes:
    """Return all streams in one, each behind its length as a base-128 number: one byte below 128, two below 16,384."""
    return b"".join(_length(len(stream)) + stream for stream in streams)


def split(data: bytes, count: int) -> list[bytes]:
    """Return the `count` streams that `join` put together.

    Raises
    ------
    ValueError
        The data end too early or too late.

    Examples
    --------
    >>> split(join([b"ab", b"", b"c"]), 3)
    [b'ab', b'', b'c']
    """
    streams: list[bytes] = []
    place = 0
    for _ in range(count):
        length = shift = 0
        more = True
        while more:
            if place >= len(data) or shift > 28:
                raise ValueError(f"expected {count} streams, got {len(streams)} in {len(data)} bytes")
            length |= (data[place] & 127) << shift
            more = data[place] > 127
            place, shift = place + 1, shift + 7
        streams.append(data[place : place + length])
        place += length
    if place != len(data):
        raise ValueError(f"expected {place} bytes in {count} streams, got {len(data)}")
    return streams


def _length(count: int) -> bytes:
    return bytes([count]) if count < 128 else bytes([count % 128 + 128]) + _length(count // 128)
