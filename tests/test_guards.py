import contextlib
import io
import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aelib import files, guards
from aelib.codecs import Avif, Jpeg, Jpeg2000, Png


def jpeg2000_start(width, height, left=0, top=0, *, tiles=(64, 64), components=b"\x07\x01\x01"):
    """SOC and SIZ of a codestream, ISO/IEC 15444-1, A.5.1."""
    size = struct.pack(">HIIIIIIIIH", 0, width, height, left, top, *tiles, 0, 0, len(components) // 3) + components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (jpeg2000_start(64, 64, components=b"\x07\x01\x01" * 40), "three components of 8 bits, got 40 components"),
        (jpeg2000_start(64, 64, components=b"\x0f\x01\x01"), "one or three components of 8 bits, got 0f 01 01"),
        (jpeg2000_start(64, 64, components=b"\x07\x01\x02" * 3), "components of 8 bits, got 07 01 02"),
        (jpeg2000_start(1000, 1000, tiles=(1, 1)), "at most 1024 tiles, got 1000 by 1000"),
        (jpeg2000_start(1000, 1000, tiles=(0, 0)), "at most 1024 tiles, got 1000 by 1000"),
        (b"\xff\x4f\xff\x51", "expected a JPEG 2000 codestream"),
    ],
)
def test_jpeg2000_streams_that_would_cost_more_memory_than_their_size_says_are_refused(stream, message):
    with pytest.raises(ValueError, match=message):
        guards.check_jpeg2000(stream)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (17, 0x00, "expected precincts of 1024 values or more, got 00"),
        (17, 0x41, "expected precincts of 1024 values or more, got 41"),
        (6, 0xFF, "expected at most 64 layers, got 65281"),
        (10, 0x00, "expected code-blocks of 1024 values or more, got 00 04"),
    ],
)
def test_jpeg2000_styles_that_take_the_picture_into_crumbs_are_refused(place, value, message, photographs):
    (stream,) = Jpeg2000(30).encode(photographs[:1])
    broken = bytearray(stream)
    start = stream.index(b"\xff\x52")
    broken[start + place if place < 17 else start + 14] = value
    with pytest.raises(ValueError, match=message):
        Jpeg2000(30).decode([bytes(broken)])


def test_a_tile_part_that_ends_before_its_data_is_refused(photographs):
    (stream,) = Jpeg2000(30).encode(photographs[:1])
    at = stream.index(b"\xff\x90")
    broken = stream[: at + 6] + struct.pack(">I", 2) + stream[at + 10 :]
    with pytest.raises(ValueError, match="expected a tile-part that ends behind byte"):
        guards.check_jpeg2000(broken)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_texts(stream):
    """A PNG with 60 compressed texts of 1 MiB each."""
    text = b"x\0\1\0\0\0" + zlib.compress(("\N{GRINNING FACE}" + "a" * (1 << 20)).encode())
    return stream[:33] + 60 * chunk(b"iTXt", text) + stream[33:]


def test_texts_in_a_png_cost_nothing(noise):
    images = noise(1, 3, 4, 4)
    (stream,) = Png().encode(images)
    hostile = with_texts(stream)
    assert guards.png_pixels(hostile) == stream
    assert torch.equal(Png().decode([hostile]), images)


def test_texts_in_a_png_take_no_memory(noise, grown):
    (stream,) = Png().encode(noise(1, 3, 4, 4))
    kib, _ = grown(Png(), with_texts(stream))
    assert kib < 16 << 10


def test_an_avif_whose_picture_is_larger_than_it_says_is_refused(noise):
    (stream,) = Avif(1, 10).encode(noise(1, 3, 1200, 1200))
    place = stream.index(b"ispe") + 8
    hostile = stream[:place] + struct.pack(">II", 32, 32) + stream[place + 8 :]
    with pytest.raises(ValueError, match="expected at most 1048576 pixels, got 1200x1200 in the AV1 sequence"):
        Avif(50).decode([hostile])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stream: stream + struct.pack(">I4s", 12, b"mdat") + b"more", "expected one mdat and one meta box"),
        (lambda stream: stream.replace(b"iloc", b"free"), "expected one mdat and one meta box"),
        (lambda stream: moved(stream, 1), "expected one coded picture that fills the mdat box"),
        (lambda stream: moved(stream, -4), "expected one coded picture that fills the mdat box"),
    ],
)
def test_an_avif_that_may_hide_another_picture_is_refused(change, message, photographs):
    (stream,) = Avif(50, 10).encode(photographs[:1])
    guards.check_avif(stream, 1024)
    with pytest.raises(ValueError, match="expected at most 1023 pixels, got 32x32 in the AV1 sequence"):
        guards.check_avif(stream, 1023)
    with pytest.raises(ValueError, match=message):
        guards.check_avif(change(stream), 1024)


def moved(stream, by):
    """The file with its first extent's offset changed."""
    offset = struct.pack(">I", stream.index(b"mdat") + 4)
    place = stream.index(offset, stream.index(b"iloc"))
    return stream[:place] + struct.pack(">I", stream.index(b"mdat") + 4 + by) + stream[place + 4 :]


def progressive(picture, file_format="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, file_format, progressive=True)
    return buffer.getvalue()


def test_a_thousand_scans_are_refused(photographs):
    stream = progressive(photographs[0])
    assert Jpeg(50).decode([stream]).shape == (1, 3, 32, 32)
    last = stream.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file, got 10"):
        Jpeg(50).decode([stream[:-2] + 1000 * stream[last:-2] + stream[-2:]])


@pytest.mark.parametrize("file_format", ["JPEG", "MPO"])
def test_a_thousand_scans_of_a_user_are_refused(file_format, photographs):
    stream = progressive(photographs[0], file_format)
    last, end = stream.rindex(b"\xff\xda"), stream.rindex(b"\xff\xd9")
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file, got 10"):
        files.read_photograph(stream[:end] + 1000 * stream[last:end] + stream[end:])


def test_damaged_data_is_no_way_around_a_scan(photographs):
    """A decoder skips two bytes where a false marker claims thousands."""
    stream = progressive(photographs[0])
    last = stream.rindex(b"\xff\xda")
    hidden = b"\xff\x02\xff\xff" + 200 * stream[last:-2]
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file, got 2"):
        files.read_photograph(stream[:-2] + hidden + stream[-2:])


def test_what_looks_like_scans_in_notes_or_behind_the_end_is_none(photographs):
    stream, many = progressive(photographs[0]), 200 * b"\xff\xda"
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(many)) + many
    noted = stream[:2] + comment + stream[2:] + many
    assert torch.equal(files.read_photograph(noted), files.read_photograph(stream))
    guards.check_jpeg(noted)


@given(st.sampled_from([Avif(50, 10), Jpeg2000(30), Png()]), st.data())
def test_any_change_of_a_stream_is_passed_or_refused(codec, data):
    (stream,) = codec.encode(torch.arange(768, dtype=torch.int32).reshape(1, 3, 16, 16).to(torch.uint8))
    broken = bytearray(stream[: data.draw(st.integers(0, len(stream)))])
    for _ in range(data.draw(st.integers(0, 4)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    check = {
        "AVIF": lambda one: guards.check_avif(one, 1 << 20),
        "JPEG": guards.check_jpeg2000,
        "PNG": guards.png_pixels,
    }
    with contextlib.suppress(ValueError):
        check[codec.name.split()[0]](bytes(broken))
