import re
import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aelib import containers
from aelib.codecs import Avif, Jpeg, Jpeg2000, JpegXl, Png, WebP


def jpeg(*segments, scan):
    parts = [b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments]
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xda\x00\x04\x01\x02" + scan + b"\xff\xd9"


def test_jpeg_payload_is_the_scan_with_stuffed_bytes_and_restarts():
    scan = b"abc\xff\x00def\xff\xd3ghi"
    stream = jpeg((0xE0, b"JFIF"), (0xDB, bytes(65)), (0xC4, b"tables"), (0xC0, bytes(9)), scan=scan)
    assert containers.jpeg_payload(stream, huffman_tables=False) == scan
    own = containers.jpeg_payload(stream, huffman_tables=True)
    assert own == b"\xff\xc4\x00\x08tables" + scan


def test_jpeg_payload_joins_the_scans_of_a_progressive_file():
    stream = jpeg((0xC2, bytes(9)), scan=b"one\xff\xda\x00\x03\x00two")
    assert containers.jpeg_payload(stream, huffman_tables=False) == b"onetwo"


def test_png_payload_is_the_contents_of_all_idat_chunks():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    chunks = [chunk(b"IHDR", bytes(13)), chunk(b"IDAT", b"first"), chunk(b"IDAT", b"second"), chunk(b"IEND", b"")]
    assert containers.png_payload(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)) == b"firstsecond"


def test_webp_payload_is_the_picture_chunk_behind_padded_others():
    def webp(kind, data):
        body = b"ICCP" + struct.pack("<I", 3) + b"abc\0" + kind + struct.pack("<I", len(data)) + data
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

    assert containers.webp_payload(webp(b"VP8L", b"\x2fsizedata")) == b"data"  # signature, and 4 bytes of size
    assert containers.webp_payload(webp(b"VP8 ", b"tag\x9d\x01\x2asizedata")) == b"tagdata"


def test_avif_payload_is_the_mdat_box():
    def box(kind, body):
        return struct.pack(">I", 8 + len(body)) + kind + body

    start = box(b"ftyp", b"avif") + box(b"meta", bytes(9))
    assert containers.avif_payload(start + box(b"mdat", b"coded")) == b"coded"
    # Unit headers of AV1: type in bits 3 to 6, a length follows if bit 1 is set. Frame data have type 6.
    delimiter, sequence, frame = b"\x12\0", b"\x0a\x03abc", b"\x32\x05coded"
    assert containers.avif_payload(start + box(b"mdat", delimiter + sequence + frame)) == frame


@pytest.mark.parametrize(
    "codec",
    [Jpeg(50, optimize=False), WebP(50), WebP(None), Avif(50, 9), Jpeg2000(30)],
    ids=lambda codec: codec.name,
)
def test_payloads_of_different_images_do_not_begin_alike(codec, photographs):
    payloads = [codec.payload(stream) for stream in codec.encode(photographs[:20])]
    alike = next(at for at in range(len(payloads[0])) if len({payload[at] for payload in payloads}) > 1)
    assert alike <= 3


def test_jpeg2000_payload_is_what_follows_the_start_of_data_in_every_tile_part():
    def tile_part(packets):
        return b"\xff\x90\x00\x0a" + bytes(2) + struct.pack(">I", 14 + len(packets)) + bytes(2) + b"\xff\x93" + packets

    size = struct.pack(">IIII", 40, 30, 8, 6)
    stream = b"\xff\x4f\xff\x51\x00\x14" + bytes(2) + size + tile_part(b"one") + tile_part(b"two") + b"\xff\xd9"
    assert containers.jpeg2000_payload(stream) == b"onetwo"
    assert containers.jpeg2000_size(stream) == (24, 32)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (32, 32), (28, 28), (24, 32), (100, 7), (300, 256), (9, 2000)])
def test_jpegxl_size_is_what_was_coded(size):
    (stream,) = JpegXl(3.0).encode(torch.zeros(1, 3, *size, dtype=torch.uint8))
    assert containers.jpegxl_size(stream) == size


CLOSED = [Jpeg(50), Jpeg(50, optimize=False), WebP(50), WebP(None), Avif(50, 9), Png(), Jpeg2000(30)]
OPEN_ENDED = [JpegXl(3.0)]  # their parsers cannot see that a stream is cut off
CODECS = CLOSED + OPEN_ENDED


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_real_payloads_lie_in_the_file_and_what_is_left_hardly_depends_on_the_picture(codec):
    generator = torch.Generator().manual_seed(0)
    streams = codec.encode(torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8))
    rests = []
    for stream in streams:
        payload = codec.payload(stream)
        if codec == Jpeg(50):  # Huffman tables, and behind the constant start of the scan, its data
            scan = containers.jpeg_payload(stream, huffman_tables=False)
            parts = [payload.removesuffix(scan), scan]
            assert parts[0].startswith(b"\xff\xc4")
        elif codec == WebP(50):  # the frame tag, and behind the constant start code and size, the frame
            parts = [payload[:3], payload[3:]]
        else:
            parts = [payload]
        assert b"".join(parts) == payload
        rest = stream
        for part in parts:
            before, found, after = rest.partition(part)
            assert found
            rest = before + after
        rests.append(rest)
    first, second = rests
    assert abs(len(first) - len(second)) <= 1  # WebP pads to an even length
    assert sum(a != b for a, b in zip(first, second, strict=False)) <= 12  # lengths and checksums


def test_the_header_of_a_standard_jpeg_is_the_625_bytes_that_others_measured():
    flat = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    codec = Jpeg(50, "4:2:0", optimize=False)
    (stream,) = codec.encode(flat)
    assert (len(stream) - len(codec.payload(stream)), len(codec.payload(stream))) == (625, 16)


PARSERS = {
    "jpeg": lambda stream: containers.jpeg_payload(stream, huffman_tables=True),
    "png": containers.png_payload,
    "webp": containers.webp_payload,
    "avif": containers.avif_payload,
    "jpeg2000": containers.jpeg2000_payload,
    "jpeg2000 size": containers.jpeg2000_size,
    "jpegxl size": containers.jpegxl_size,
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("stream", [b"", b"\0", b"\xff", bytes(100), b"GIF89a" + bytes(50)])
def test_foreign_streams_are_refused(parse, stream):
    with pytest.raises(ValueError, match="expected"):
        parse(stream)


@pytest.mark.parametrize("codec", CLOSED, ids=lambda codec: codec.name)
def test_every_truncation_is_refused_or_gives_bytes(codec):
    (stream,) = codec.encode(torch.full((1, 3, 16, 16), 90, dtype=torch.uint8))
    refused = 0
    for length in range(len(stream)):
        try:
            assert isinstance(codec.payload(stream[:length]), bytes)
        except ValueError:
            refused += 1
    assert refused > len(stream) // 3


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_streams_are_joined_behind_their_lengths_and_split_again(streams):
    data = containers.join(streams)
    assert containers.split(data, len(streams)) == streams
    assert len(data) == sum(len(stream) + (2 if len(stream) > 127 else 1) for stream in streams)


def test_the_length_of_a_stream_takes_a_byte_below_128():
    assert containers.join([bytes(127), bytes(128), bytes(16384)])[:1] == b"\x7f"
    assert containers.join([bytes(128)])[:2] == b"\x80\x01"
    assert containers.join([bytes(16384)])[:3] == b"\x80\x80\x01"


@given(st.binary(max_size=20), st.integers(0, 5))
def test_any_bytes_are_split_or_refused(data, count):
    try:
        streams = containers.split(data, count)
    except ValueError:
        return
    assert len(streams) == count
    assert sum(map(len, streams)) <= len(data)


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + bytes(4)


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


def tile_part(packets, length=None):
    length = 14 + len(packets) if length is None else length
    return b"\xff\x90\x00\x0a" + bytes(2) + struct.pack(">I", length) + bytes(2) + b"\xff\x93" + packets


def codestream(*parts):
    return b"\xff\x4f\xff\x51\x00\x14" + bytes(18) + b"".join(parts)


JPEG, PNG, FTYP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", box(b"ftyp", b"avif")
RIFF = b"RIFF" + bytes(4) + b"WEBP"


@pytest.mark.parametrize(
    ("parser", "stream", "message"),
    [
        ("jpeg", b"GIF89a", "expected a JPEG file to begin with ff d8, got 47 49"),
        ("jpeg", JPEG, "expected a JPEG marker at byte 2, got the end"),
        ("jpeg", JPEG + b"\xff", "expected a JPEG marker at byte 2, got ff"),
        ("jpeg", JPEG + b"abc", "expected a JPEG marker at byte 2, got 61 62"),
        ("jpeg", JPEG + b"\xff\xe0\x00", "expected a JPEG segment at byte 2, got the end of the file"),
        ("jpeg", JPEG + b"\xff\xe0\x00\x02", "expected a JPEG marker at byte 6, got the end"),
        (
            "jpeg",
            JPEG + b"\xff\xda\x00\x02scan\xff\x00",
            "expected a marker after the JPEG scan, got the end of the file",
        ),
        ("png", b"GIF89a" + bytes(9), "expected a PNG signature, got 47 49 46 38 39 61 00 00"),
        (
            "png",
            PNG + b"\xff\xff\xff\xffIDATab",
            "expected a chunk of 4294967295 bytes at byte 8, got 2 bytes",
        ),
        ("webp", b"RIFF1234WAVE56", "expected RIFF ... WEBP, got 52 49 46 46 31 32 33 34 57 41 56 45"),
        ("webp", RIFF + b"ICCP" + bytes(4), "expected a VP8 or VP8L chunk in the WebP file, got none"),
        (
            "webp",
            RIFF + b"VP8 \xff\xff\xff\xffab",
            "expected a chunk of 4294967295 bytes at byte 12, got 2 bytes",
        ),
        ("avif", bytes(12), "expected an ftyp box, got 00 00 00 00"),
        ("avif", FTYP, "expected an mdat box in the AVIF file, got none"),
        ("avif", FTYP + b"abc", "expected a box at byte 12, got the end of the file"),
        (
            "avif",
            FTYP + b"\xff\xff\xff\xffmdat",
            "expected a box of 4294967295 bytes at byte 12, got 8 bytes",
        ),
        ("avif", FTYP + b"\0\0\0\x04mdat", "expected a box of 4 bytes at byte 12, got 8 bytes"),
        ("avif", FTYP + b"\0\0\0\x09mdat", "expected a box of 9 bytes at byte 12, got 8 bytes"),
        ("jpeg2000", b"GIF89a", "expected a JPEG 2000 codestream, ff 4f ff 51, got 47 49 46 38"),
        ("jpeg2000", codestream(), "expected a tile-part in the JPEG 2000 codestream, got its end"),
        (
            "jpeg2000",
            codestream(tile_part(b"abc", 0x0100_0011)),
            "expected a tile-part of 16777233 bytes at byte 24, got 17 bytes",
        ),
        (
            "jpeg2000",
            codestream(tile_part(b"abc").replace(b"\x93", b"\x00"), tile_part(b"abc")),
            "expected a tile-part of 17 bytes at byte 24, got 34 bytes",
        ),
        (
            "jpeg2000",
            codestream(b"\xff\x90\xff\x93" + bytes(2) + struct.pack(">I", 13) + bytes(9)),
            "expected a tile-part of 13 bytes at byte 24, got 19 bytes",
        ),
        ("jpeg2000 size", b"GIF89a", "expected a JPEG 2000 codestream, ff 4f ff 51, got 47 49 46 38"),
        ("jpegxl size", b"GIF89a", "expected a JPEG XL codestream, ff 0a, got 47 49"),
    ],
)
def test_a_parser_says_what_it_expected_where_and_what_came(parser, stream, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PARSERS[parser](stream)


def test_jpeg_segments_of_any_length_are_no_payload():
    scan = b"a\xff\xd0b\xff\xd7c"
    assert containers.jpeg_payload(jpeg((0xE1, bytes(300)), (0xE2, b""), scan=scan), huffman_tables=True) == scan
    behind = jpeg((0xE0, b"JFIF"), scan=b"one\xff\xd8\x00\x04xx")  # no restart: a segment that ends the scan
    assert containers.jpeg_payload(behind, huffman_tables=False) == b"one"


def test_riff_pads_odd_chunks_alone_and_the_last_may_be_empty():
    even = RIFF + b"ICCP\x02\0\0\0ab" + b"VP8L\x07\0\0\0\x2fsizeab"
    assert containers.webp_payload(even) == b"ab"
    assert containers.webp_payload(RIFF + b"VP8L\0\0\0\0") == b""
    assert containers.png_payload(PNG + png_chunk(b"IDAT", b"")) == b""


@pytest.mark.parametrize(
    ("units", "payload"),
    [
        (b"\x12\0", b""),  # nothing but a delimiter
        (b"\x12\0\xff", b"\xff"),
        (b"\x12\0\x12", b"\x12"),  # a unit whose length is missing
        (b"\x08\x01ab", b"\x08\x01ab"),  # a sequence header without length
        (b"\x09\x01ab", b"\x09\x01ab"),
        (b"\x0a\x80" + bytes(140), b"\x0a\x80" + bytes(140)),  # its length takes more than a byte
    ],
)
def test_only_units_with_a_short_length_of_their_own_are_left_off_an_avif_payload(units, payload):
    assert containers.avif_payload(FTYP + box(b"mdat", units)) == payload


def test_avif_payload_joins_mdat_boxes_and_the_last_box_may_have_no_length():
    assert containers.avif_payload(FTYP + box(b"mdat", b"one") + box(b"mdat", b"")) == b"one"
    assert containers.avif_payload(FTYP + box(b"mdat", b"one") + b"\0\0\0\0mdattwo") == b"onetwo"


def test_jpeg2000_tile_parts_of_any_length():
    marker = b"\xff\x64\x01\x2e" + bytes(300)
    assert containers.jpeg2000_payload(codestream(marker, tile_part(b"a\xff\x93b"))) == b"a\xff\x93b"
    assert containers.jpeg2000_payload(codestream(tile_part(b""), tile_part(b"two"))) == b"two"
    assert containers.jpeg2000_payload(codestream(tile_part(b"all", 0), b"\xff\xd9")) == b"all"  # up to the end


def test_jpeg2000_sizes_are_without_sign_and_never_negative():
    def stream(*fields):
        return b"\xff\x4f\xff\x51\x00\x14" + bytes(2) + struct.pack(">IIII", *fields)

    assert containers.jpeg2000_size(stream(1 << 31, 3 << 30, 0, 1)) == ((3 << 30) - 1, 1 << 31)
    assert containers.jpeg2000_size(stream(5, 6, 7, 8)) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ([(1, 1), (3, 5), (0, 3), (4, 5)], (32, 40)),
        *[
            ([(0, 1), (select, 2), (height - 1, bits), (0, 3), (select, 2), (6, bits)], (height, 7))
            for select, (bits, height) in enumerate([(9, 300), (13, 8000), (18, 200_000), (30, 1 << 29)])
        ],
        *[
            ([(0, 1), (0, 2), (360 - 1, 9), (ratio, 3)], (360, width))
            for ratio, width in enumerate([360, 432, 480, 540, 640, 450, 720], start=1)
        ],
        ([(0, 1), (0, 2), (10 - 1, 9), (3, 3)], (10, 13)),
    ],
)
def test_jpegxl_sizes_of_every_kind_laid_out_by_hand(fields, size):
    bits = at = 0
    for value, count in fields:
        bits |= value << at
        at += count
    found = containers.jpegxl_size(b"\xff\x0a" + bits.to_bytes(12, "little"))
    assert found == size
    assert all(isinstance(side, int) for side in found)


def test_streams_of_all_lengths_are_split_again():
    streams = [bytes([index]) * length for index, length in enumerate((127, 128, 129, 300, 16_383, 16_384, 2_100_000))]
    assert containers.split(containers.join(streams), len(streams)) == streams
    assert containers.split(b"\x80\x80\x80\x80\x00", 1) == [b""]
    with pytest.raises(ValueError, match=r"^expected 1 streams, got 0 in 6 bytes$"):
        containers.split(b"\x80\x80\x80\x80\x80\x00", 1)
    with pytest.raises(ValueError, match=r"^expected 3 bytes in 1 streams, got 2$"):
        containers.split(b"\x02a", 1)
