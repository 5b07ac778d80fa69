import contextlib
import io
import itertools
import struct
import zipfile
import zlib

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aelib import av1, avif, files, guards
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


def test_texts_in_a_png_of_a_user_take_no_memory(noise, grown):
    (stream,) = Png().encode(noise(1, 3, 4, 4))
    kib, said = grown(_READER, with_texts(stream))
    assert "(1, 3, 4, 4)" in said
    assert kib < 16 << 10


@pytest.mark.parametrize("bytes_over", [0, 1])
def test_notes_of_a_camera_have_a_bound(bytes_over, noise):
    (stream,) = Png().encode(images := noise(1, 3, 4, 4))
    notes = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 274, 3, 1, 1, 0)
    notes = notes.ljust((1 << 18) - len(b"Exif\0\0") + bytes_over, b"\0")  # Pillow puts the name before them
    file = stream[:33] + chunk(b"eXIf", notes) + stream[33:]
    if bytes_over:
        with pytest.raises(guards.Refused, match="expected at most 262144 bytes of notes by a camera, got 262145"):
            files.read_photograph(file)
    else:
        assert torch.equal(files.read_photograph(file), images[0])


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
    avif.check_stream(stream, 1024)
    with pytest.raises(ValueError, match="expected at most 1023 pixels, got 32x32 in the AV1 sequence"):
        avif.check_stream(stream, 1023)
    with pytest.raises(ValueError, match=message):
        avif.check_stream(change(stream), 1024)


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
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file of its size, got 10"):
        Jpeg(50).decode([stream[:-2] + 1000 * stream[last:-2] + stream[-2:]])


@pytest.mark.parametrize("file_format", ["JPEG", "MPO"])
def test_a_thousand_scans_of_a_user_are_refused(file_format, photographs):
    stream = progressive(photographs[0], file_format)
    last, end = stream.rindex(b"\xff\xda"), stream.rindex(b"\xff\xd9")
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file of its size, got 10"):
        files.read_photograph(stream[:end] + 1000 * stream[last:end] + stream[end:])


def test_damaged_data_is_no_way_around_a_scan(photographs):
    """A decoder skips two bytes where a false marker claims thousands."""
    stream = progressive(photographs[0])
    last = stream.rindex(b"\xff\xda")
    hidden = b"\xff\x02\xff\xff" + 200 * stream[last:-2]
    with pytest.raises(ValueError, match="expected at most 100 scans in a JPEG file of its size, got 2"):
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
        "AVIF": lambda one: avif.check_stream(one, 1 << 20),
        "JPEG": guards.check_jpeg2000,
        "PNG": guards.png_pixels,
    }
    with contextlib.suppress(ValueError):
        check[codec.name.split()[0]](bytes(broken))


# --- AVIF files of users


def box(kind, body, version=None):
    body = (b"" if version is None else bytes([version, 0, 0, 0])) + body
    return struct.pack(">I4s", 8 + len(body), kind) + body


def av1_of(picture, **options):
    """The AV1 data of a picture of Pillow's, and its av1C, ispe and pixi boxes as an AVIF file needs them."""
    stream = encoded_avif(picture, subsampling="4:4:4", **options)
    (data,) = avif._coded_pictures(stream)
    config = stream.index(b"av1C") + 4
    depths = bytes([len(picture.getbands()), *[8] * len(picture.getbands())])
    size = box(b"ispe", struct.pack(">II", *picture.size), 0)
    return data, [box(b"av1C", stream[config : config + 4]), box(b"pixi", depths, 0), size]


def encoded_avif(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "AVIF", max_threads=1, speed=10, **options)
    return buffer.getvalue()


def described():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return exif


def noisy(width, height, mode="RGB"):
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height, width, 4), np.uint8)).convert(mode)


def avif_file(items, properties, references=b"", *, version=1, method=0, pieces=1, long=False):
    """An AVIF file of items (type, data, the numbers of their properties), the first of which is shown.

    `version` and `method` are those of iloc, which has as many `pieces` of each item; `long` boxes have 64 bits.
    """
    numbered = list(enumerate(items, 1))
    infos = [box(b"infe", struct.pack(">HH4sB", number, 0, item[0], 0), 2) for number, item in numbered]
    owned = [struct.pack(">HB", number, len(item[2])) + bytes(item[2]) for number, item in numbered]
    parts = box(b"hdlr", bytes(4) + b"pict" + bytes(13), 0) + box(b"pitm", struct.pack(">H", 1), 0)
    parts += box(b"iinf", struct.pack(">H", len(items)) + b"".join(infos), 0)
    parts += box(b"iref", references, 0) if references else b""
    owned = box(b"ipma", struct.pack(">I", len(items)) + b"".join(owned), 0)
    parts += box(b"iprp", box(b"ipco", b"".join(properties)) + owned)
    body, number_layout = b"".join(item[1] for item in items), ">I" if version == 2 else ">H"

    def meta(start):
        entries, at = [b"\x44\x40", struct.pack(number_layout, len(items))], 0
        for number, (_, data, _) in numbered:
            entries += [struct.pack(number_layout, number), struct.pack(">H", method) if version else b""]
            entries += [struct.pack(">HIH", 0, start, pieces)]
            cuts = [at + len(data) * cut // pieces for cut in range(pieces + 1)]
            entries += [struct.pack(">II", one, other - one) for one, other in itertools.pairwise(cuts)]
            at += len(data)
        return box(
            b"meta", parts + box(b"iloc", b"".join(entries), version) + (box(b"idat", body) if method else b""), 0
        )

    head = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    if method:
        return head + meta(0)
    before = struct.pack(">I4sQ", 1, b"mdat", 16 + len(body)) if long else struct.pack(">I4s", 8 + len(body), b"mdat")
    return head + meta(len(head) + len(meta(0)) + len(before)) + before + body


def grid(data, properties, columns, rows, side, **options):
    """An AVIF file of so many times the same square picture."""
    count, size = columns * rows, (columns * side, rows * side)
    items = [(b"grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size), (4, 2))]
    items += [(b"av01", data, (0x81, 2, 3))] * count
    references = box(b"dimg", struct.pack(f">HH{count}H", 1, count, *range(2, count + 2)))
    return avif_file(items, [*properties, box(b"ispe", struct.pack(">II", *size), 0)], references, **options)


@pytest.fixture(scope="module")
def small():
    return noisy(64, 64)


@pytest.mark.parametrize(
    "options",
    [
        {"version": 0},
        {"version": 1},
        {"version": 2},
        {"version": 0, "pieces": 3},
        {"version": 1, "method": 1},
        {"version": 2, "method": 1, "pieces": 2},
        {"version": 0, "long": True},
    ],
    ids=str,
)
def test_a_picture_is_found_wherever_a_file_keeps_it(options, small):
    data, properties = av1_of(small)
    expected = files.read_photograph(encoded_avif(small, subsampling="4:4:4"))
    for items in ([(b"av01", data, (0x81, 2, 3))], [(b"av01", data, (0x81, 2, 3)), (b"Exif", b"more", ())]):
        file = avif_file(items, properties, **options)
        assert torch.equal(files.read_photograph(file), expected)
        with pytest.raises(ValueError, match="at most 63x63 pixels, got 64x64 in the AV1 sequence header"):
            avif.check_photograph(file, 63)


@pytest.mark.parametrize("options", [{}, {"method": 1}], ids=str)
def test_a_grid_of_pictures_is_read_and_each_is_looked_at(options, small):
    file = grid(*av1_of(small), 3, 2, 64, **options)
    expected = files.read_photograph(encoded_avif(small, subsampling="4:4:4"))
    assert torch.equal(files.read_photograph(file), expected.repeat(1, 2, 3))
    with pytest.raises(ValueError, match="at most 63x63 pixels, got 64x64 in the AV1 sequence header"):
        avif.check_photograph(file, 63)


def test_a_grid_of_pictures_that_are_larger_than_it_says_is_refused(small):
    """A file of 3 KB that says 512x512, of 64 pictures of 4096x4096, took nine seconds."""
    data, properties = av1_of(small)
    file = grid(data, [*properties[:2], box(b"ispe", struct.pack(">II", 16, 16), 0)], 3, 3, 16)
    avif.check_photograph(file, 4096)
    with pytest.raises(guards.Refused, match="64x64 pixels in each of 8 coded pictures, got 36864 in all"):
        avif.check_photograph(file, 64)


@pytest.mark.parametrize("kind", [b"thmb", b"auxl"])
def test_the_larger_picture_may_be_a_thumbnail_or_the_alpha(kind, small):
    (data, properties), (large, _) = av1_of(small), av1_of(noisy(65, 64))
    items = [(b"av01", one, (0x81, 2, 3)) for one in (data, large)]
    file = avif_file(items, properties, box(kind, struct.pack(">HHH", 2, 1, 1)))
    assert files.read_photograph(file).shape == (3, 64, 64)
    with pytest.raises(guards.Refused, match="at most 64x64 pixels, got 65x64 in the AV1 sequence header"):
        avif.check_photograph(file, 64)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (4096, 2)])
def test_ordinary_files_are_read(mode, size):
    file = encoded_avif(noisy(*size, mode), exif=described(), xmp=b"<x:xmpmeta/>", icc_profile=b"profile")
    assert file.count(b"Exif") > 0
    picture = files.read_photograph(file)
    assert picture.shape == (1 if mode == "L" else 3, size[1], size[0])


@pytest.mark.skipif(not imagecodecs.AVIF.available, reason="imagecodecs was built without AVIF")
@pytest.mark.parametrize("options", [{}, {"bitspersample": 10}, {"pixelformat": "420"}], ids=str)
@pytest.mark.parametrize("shape", [(31, 45, 3), (300, 200, 4), (16, 16)])
def test_ordinary_files_of_another_encoder_are_read(options, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint16 if "bitspersample" in options else np.uint8)
    file = imagecodecs.avif_encode(pixels, 50, speed=10, **options)
    assert files.read_photograph(file).shape == (1 if len(shape) == 2 else 3, *shape[:2])


def film(*frames, **options):
    return encoded_avif(frames[0], save_all=True, append_images=frames[1:], **options)


def first_frame(stream):
    """The first frame of a film as a still picture, with the sequence header of the film."""
    return stream.replace(b"moov", b"free").replace(b"avis", b"avif")


def test_a_film_is_refused_by_its_name(small):
    films = [film(small, small)]
    films += [imagecodecs.avif_encode(np.zeros((3, 16, 16, 3), np.uint8))] if imagecodecs.AVIF.available else []
    for stream in films:
        with pytest.raises(guards.Refused, match="expected a still picture, got an AVIF file with a moov box"):
            files.read_photograph(stream)


@pytest.mark.parametrize(
    "advanced", [{}, {"timing-info": "model"}, {"timing-info": "constant"}, {"enable-order-hint": "0"}], ids=str
)
def test_a_still_picture_may_have_the_header_of_a_film(advanced):
    stream = first_frame(film(noisy(90, 70), noisy(90, 70), advanced=advanced))
    assert files.read_photograph(stream).shape == (3, 70, 90)
    ((_, (_, header), *_),) = [list(av1.units(data)) for data in avif._coded_pictures(stream)]
    assert not av1.sequence(header).reduced
    with pytest.raises(guards.Refused, match="at most 89x89 pixels, got 90x70 in the AV1 sequence header"):
        avif.check_photograph(stream, 89)


# --- AV1 headers, bit by bit


def bits(data):
    return f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""


def packed(*fields):
    """Bytes of fields (value, count of bits) or of digits, filled up with zeros."""
    digits = "".join(one if isinstance(one, str) else f"{one[0]:0{one[1]}b}" if one[1] else "" for one in fields)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def unit(kind, body):
    length = [len(body) >> 7 * place & 127 | 128 for place in range(4)]
    return bytes([kind << 3 | 2, *length, 0]) + body


def uvlc(number):
    """AV1 Specification, 4.10.3."""
    zeros = (number + 1).bit_length() - 1
    return [(0, zeros), (number + 1, zeros + 1)]


FLAG = st.integers(0, 1)
SIDE = st.integers(1, 1 << 16)


@st.composite
def sequences(draw):
    """Fields of a general sequence header in the order of 5.5.1, and what is to be read from it."""
    fields, delay_bits, time_bits = [(draw(st.integers(0, 2)), 3), (draw(FLAG), 1), (0, 1)], 0, 0

    def flag():
        fields.append((draw(FLAG), 1))
        return fields[-1][0]

    def number(count, lowest=0):
        fields.append((draw(st.integers(lowest, (1 << count) - 1)), count))
        return fields[-1][0]

    if flag():
        number(32), number(32)
        if equal := flag():
            fields.extend(uvlc(draw(st.integers(0, (1 << 32) - 3))))
        if flag():
            delay_bits = number(5) + 1
            number(32), number(5)
            time_bits = (number(5) + 1) * (1 - equal)
    delayed = flag()
    for _ in range(number(5) + 1):
        number(12)
        if number(5) > 7:
            flag()
        if delay_bits and flag():
            number(delay_bits), number(delay_bits), flag()
        if delayed and flag():
            number(4)
    sizes = [draw(SIDE), draw(SIDE)]
    counts = [draw(st.integers(max((side - 1).bit_length(), 1), 16)) for side in sizes]
    fields += [(count - 1, 4) for count in counts] + [
        (side - 1, count) for side, count in zip(sizes, counts, strict=True)
    ]
    number_bits = 0
    if flag():
        number_bits = number(4) + 2 + 1
        number_bits += number(3)
    for _ in range(7):
        flag()
    ordered = flag()
    if ordered:
        flag(), flag()
    tools = 2 if flag() else flag()
    vectors = 2 if not tools or flag() else flag()
    if ordered:
        number(3)
    largest = tuple(1 << count for count in counts)
    return fields, av1.Sequence(tuple(sizes), largest, False, time_bits, number_bits, tools, vectors)


@given(sequences())
def test_general_sequence_headers_are_read_to_the_bit(case):
    fields, expected = case
    assert av1.sequence(packed(*fields, "1")) == expected
    for end in range(len(packed(*fields)) - 1):
        with pytest.raises(ValueError, match="expected an AV1 sequence header, got its end after"):
            av1.sequence(packed(*fields)[:end])


@given(sequences(), st.integers(0, 3), FLAG, FLAG, FLAG, st.data())
def test_frame_headers_are_read_to_the_bit(case, kind, shown, tools, named, data):
    """AV1 Specification, 5.9.2."""
    _, sequence = case

    def number(count):
        return (data.draw(st.integers(0, (1 << count) - 1)), count)

    fields = [(0, 1), (kind, 2), (shown, 1), number(sequence.time_bits if shown else 1)]
    fields += [] if kind == 3 or (kind == 0 and shown) else [number(1)]
    fields += [number(1), *([(tools, 1)] if sequence.tools == 2 else [])]
    fields += [number(1)] if (tools if sequence.tools == 2 else sequence.tools) and sequence.vectors == 2 else []
    fields += [number(sequence.number_bits), *([] if kind == 3 else [(named, 1)])]
    named = bool(named) or kind == 3
    opposite = "0" if named else "1"
    assert av1.names_size(sequence, packed(*fields, opposite * 9)) == named
    assert not av1.names_size(sequence, b"\x80"), "an earlier frame, shown now"


def test_numbers_that_decoders_do_not_agree_on_are_refused():
    fields = [(0, 5), (1, 1), (0, 64), (1, 1)]
    rest = [(0, 19), (0, 5), (15, 4), (15, 4), (31, 16), (31, 16), (0, 32)]
    assert av1.sequence(packed(*fields, "0" * 31 + "1", (0, 31), *rest)).size == (32, 32)
    with pytest.raises(ValueError, match="got 32 zeros"):
        av1.sequence(packed(*fields, "0" * 32 + "1", (0, 32), *rest))


def test_a_frame_that_names_its_size_is_judged_by_it():
    """The header of the sequence says 32x32 pixels, the frame 200x200; a common decoder believes the frame."""
    whole = first_frame(film(*[noisy(200, 200)] * 2, subsampling="4:4:4", advanced={"enable-order-hint": "0"}))
    _, properties = av1_of(noisy(200, 200))
    ((_, (_, header), (_, frame)),) = [list(av1.units(data)) for data in avif._coded_pictures(whole)]
    header, frame = bits(header).rstrip("0"), bits(frame)
    assert frame[:4] == "0001", "a key frame, shown"
    place = 7 if frame[5] == "1" else 6  # behind which tools it has and whether vectors are integers
    assert (header[29:37], header[37:53], frame[place]) == ("01110111", bits(b"\xc7\xc7"), "0")

    def with_sizes(count, in_sequence, in_frame):
        sizes = [(count - 1, 4)] * 2 + [(in_sequence - 1, count)] * 2
        own = [frame[:place], "1", (in_frame - 1, count), (in_frame - 1, count), frame[place + 1 :]]
        data = b"\x12\0" + unit(1, packed(header[:29], *sizes, header[53:])) + unit(6, packed(*own))
        return avif_file([(b"av01", data, (0x81, 2, 3))], properties)

    expected = files.read_photograph(whole)
    for count in (8, 12):
        assert torch.equal(files.read_photograph(with_sizes(count, 32, 200)), expected)
    avif.check_photograph(with_sizes(8, 32, 200), 129)
    for count, largest, limit in ((16, 65536, 4096), (13, 8192, 4096), (8, 256, 128)):
        with pytest.raises(
            guards.Refused, match=f"{limit} pixels, got an AV1 frame .* its size, up to {largest}x{largest}"
        ):
            avif.check_photograph(with_sizes(count, 32, 32), limit)


REDUCED = packed((0, 3), (1, 1), (1, 1), (0, 5), (5, 4), (5, 4), (63, 6), (63, 6), (0, 12))  # of 64x64 pixels


def of_units(*units):
    return avif_file([(b"av01", b"".join(units), ())], [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (unit(1, REDUCED), "64x64 in the AV1 sequence header"),
        (bytes([1 << 3 | 6, 0, len(REDUCED)]) + REDUCED, "64x64 in the AV1 sequence header"),  # with an extension
        (b"\x12\0" + bytes([1 << 3]) + REDUCED, "64x64 in the AV1 sequence header"),  # without a length
        (bytes([1 << 3 | 0x82, len(REDUCED)]) + REDUCED, "64x64 in the AV1 sequence header"),  # decoders do not mind
        (unit(3, b""), "an AV1 sequence header before any frame"),
        (unit(1, REDUCED[:3]), "an AV1 sequence header, got its end after 3 bytes"),
        (unit(1, packed((0, 3), (0, 1), (1, 1))), "a still picture behind a reduced AV1 sequence header"),
        (b"\x0a\x05" + REDUCED[:4], "an AV1 unit of 5 bytes at byte 2, got 4 bytes"),
        (b"\x0e", "the length of an AV1 unit at byte 2"),
        (b"\x0a" + b"\x80" * 8 + b"\0", "the length of an AV1 unit at byte 1"),
        (b"\x12\0" * 20_000, "at most 16384 AV1 units, got more"),
    ],
)
def test_units_are_what_a_decoder_takes_for_them(data, said):
    with pytest.raises(ValueError, match=said):
        avif.check_photograph(of_units(data), 63)


def test_only_items_of_av1_are_looked_at():
    avif.check_photograph(avif_file([(b"av01", b"", ()), (b"mime", unit(1, REDUCED), ())], []), 63)
    with pytest.raises(guards.Refused, match="64x64"):
        avif.check_photograph(avif_file([(b"av01", b"", ()), (b"av01", unit(1, REDUCED), ())], []), 63)


def with_iloc(body, version, **options):
    file = avif_file([(b"av01", unit(1, REDUCED), ())], [], **options)
    at = file.index(b"iloc") - 4
    whole = bytearray(file[:at] + box(b"iloc", body, version) + file[at + int.from_bytes(file[at : at + 4], "big") :])
    grown = file.index(b"meta") - 4
    length = int.from_bytes(file[grown : grown + 4], "big") + len(whole) - len(file)
    whole[grown : grown + 4] = struct.pack(">I", length)
    return bytes(whole)


@pytest.mark.parametrize(
    ("version", "body", "message"),
    [
        (3, b"\x44\0\0\1", "expected an iloc box of version 0 to 2 and 16384 items, got 03 00 00 00 44 00 00 01"),
        (2, b"\x44\0\xff\xff\xff\xff", "expected an iloc box of version 0 to 2 and 16384 items"),
        (0, b"\x44\0\0\2", "expected an iloc box, got its end after 8 bytes"),
        (0, b"\0\0\0\1\0\1\0\0\xff\xff", "expected at most 16384 extents, got more"),
        (1, b"\x44\0\0\1\0\1\0\2\0\0\0\1" + bytes(7) + b"\1", "expected bytes of the file, got 0 to 1 by method 2"),
        (1, b"\x44\0\0\1\0\1\0\1\0\0\0\1" + bytes(7) + b"\1", "expected bytes of the file, got 0 to 1 by method 1"),
        (0, b"\x44\0\0\1\0\1\0\0\0\1\0\xff\xff\xff\0\0\0\2", "expected bytes of the file, got 16777215 to 16777217"),
        (0, b"\x04\0\0\1\0\1\0\0\0\2" + b"\1\0\0\0" * 2, r"coded pictures of \d+ bytes, got 33554432"),
        # Indices of 32 bits, of another extent each: 4 bytes that are left out in version 0.
        (1, b"\x44\4\0\1\0\1\0\0\0\0\0\1\0\0\0\0\0\0\xff\0\0\0\0\1", "expected bytes of the file, got 65280 to 65281"),
    ],
)
def test_places_that_no_file_has_are_refused(version, body, message):
    with pytest.raises(ValueError, match=message):
        avif.check_photograph(with_iloc(body, version), 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.replace(b"meta", b"free"), "expected one meta box, got 0"),
        (lambda file: file + file[28:], "expected one meta box, got 2"),
        (lambda file: file.replace(b"iloc", b"free"), "expected one iinf, one iloc and one or no idat box"),
        (lambda file: file.replace(b"hdlr", b"iloc"), "expected one iinf, one iloc and one or no idat box"),
        (lambda file: file.replace(b"iinf", b"free"), "expected one iinf, one iloc and one or no idat box"),
        (lambda file: file + box(b"free", b"") * 20_000, "expected at most 16384 boxes, got more"),
        (lambda file: file + b"\0\0\0", "expected a box of 3 bytes at byte"),
        (lambda file: file + struct.pack(">I4sQ", 1, b"free", 15), "expected a box of 15 bytes at byte"),
        (
            lambda file: file + struct.pack(">I4sQ", 1, b"free", 17),
            "expected a box of 17 bytes at byte .*, got 16 bytes",
        ),
    ],
)
def test_files_whose_boxes_make_no_picture_are_refused(change, message):
    file = of_units(unit(1, REDUCED))
    avif.check_photograph(file + struct.pack(">I4s", 0, b"free"), 64)
    with pytest.raises(ValueError, match=message):
        avif.check_photograph(change(file), 64)


def good_files():
    picture = noisy(16, 16)
    data, properties = av1_of(picture)
    return [
        encoded_avif(noisy(16, 16, "RGBA"), exif=described()),
        avif_file([(b"av01", data, (0x81, 2, 3))], properties, version=2, method=1, pieces=2),
        grid(data, properties, 2, 1, 16),
        first_frame(film(picture, picture, advanced={"timing-info": "model"})),
    ]


@pytest.fixture(scope="module")
def good():
    files = good_files()
    for file in files:
        avif.check_photograph(file, 64)
    return files


@given(
    st.integers(0, 3),
    st.lists(
        st.tuples(st.integers(0, 10**6), st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 255]))), max_size=8
    ),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=300)
def test_a_damaged_avif_is_passed_or_refused(good, place, changes, headers, cut):
    broken = bytearray(good[place])
    # Most bytes are those of the picture, few those of boxes and headers.
    reach = min(len(broken), 800) if headers else len(broken)
    for at, value in changes:
        broken[at % reach] = value
    del broken[len(broken) - cut % 8 * (cut % 5 == 0) :]
    with contextlib.suppress(ValueError):
        avif.check_photograph(bytes(broken), 64)


# --- TIFF files of users


def tiff(entries, data, order="<", *, big=False):
    """A TIFF file of one directory; entries are (tag, type, value) of one value each, None for where the data begin."""
    number, head = ("Q", 16) if big else ("I", 8)
    size = (8 if big else 2) + (20 if big else 12) * len(entries) + (8 if big else 4)
    lines = [struct.pack(order + ("Q" if big else "H"), len(entries))]
    for tag, kind, value in entries:
        value = struct.pack(order + {1: "B", 3: "H", 4: "I", 17: "q"}[kind], head + size if value is None else value)
        lines.append(struct.pack(order + "HH" + number, tag, kind, 1) + value.ljust(8 if big else 4, b"\0"))
    magic = struct.pack(order + "HHHQ", 43, 8, 0, head) if big else struct.pack(order + "HI", 42, head)
    return (b"II" if order == "<" else b"MM") + magic + b"".join(lines) + bytes(8 if big else 4) + data


def grey_tiff(tile, data, **options):
    """32x32 pixels of 8 bits, deflated, in one tile that `tile` gives the entries of."""
    size = [(256, 4, 32), (257, 4, 32), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    return tiff([*size, *tile, (324, 4, None), (325, 4, len(data))], data, **options)


def zeros(count):
    return zlib.compress(bytes(count))


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"big": True}], ids=str)
def test_tiles_of_an_ordinary_tiff_are_read_and_larger_ones_refused(kind, options):
    ordinary = grey_tiff([(322, kind, 48), (323, kind, 64)], zeros(48 * 64), **options)
    assert torch.equal(files.read_photograph(ordinary), torch.zeros(1, 32, 32, dtype=torch.uint8))
    guards.check_tiff(ordinary, 64)
    for sides in ((48, 80), (80, 48)):
        file = grey_tiff([(322, kind, sides[0]), (323, kind, sides[1])], zeros(48 * 80), **options)
        with pytest.raises(guards.Refused, match="tiles of at most 64x64 pixels, got a side of 80 pixels"):
            guards.check_tiff(file, 64)


@pytest.mark.parametrize("sides", [(8192, 32), (32, 8192)])
def test_of_two_sizes_of_a_tile_none_may_be_large(sides):
    """Pillow believes the last, libtiff the first."""
    file = grey_tiff([(tag, 4, side) for tag in (322, 323) for side in sides], zeros(8192 * 32))
    with pytest.raises(guards.Refused, match="got a side of 8192 pixels"):
        files.read_photograph(file)


def test_sizes_of_tiles_of_types_that_few_know_are_refused():
    file = grey_tiff([(322, 17, 32), (323, 17, 32)], zeros(1024), big=True)
    with pytest.raises(ValueError, match="expected one short or long number as the size of a tile, got 1 of type 17"):
        files.read_photograph(file)


def test_a_directory_of_thousands_of_tags_is_refused():
    size = [(256, 4, 32), (257, 4, 32), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (278, 4, 32)]
    size += [(273, 4, None), (279, 4, len(zeros(1024)))]
    more = [(0x9100 + number, 1, 0) for number in range(4096 - len(size))]
    assert files.read_photograph(tiff(size + more, zeros(1024))).shape == (1, 32, 32)
    with pytest.raises(ValueError, match="expected at most 4096 entries in the directory of a TIFF file, got 4097"):
        files.read_photograph(tiff([*size, *more, (0xFF00, 1, 0)], zeros(1024)))


def test_strips_may_have_more_rows_than_the_picture():
    """Some writers say 2**32 - 1, and decoders take room for no more rows than there are."""
    size = [(256, 4, 32), (257, 4, 32), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (278, 4, 2**32 - 1)]
    file = tiff([*size, (273, 4, None), (279, 4, len(zeros(1024)))], zeros(1024))
    assert torch.equal(files.read_photograph(file), torch.zeros(1, 32, 32, dtype=torch.uint8))


@given(st.binary(max_size=80), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0\x10"]))
def test_any_directory_of_a_tiff_is_passed_or_refused(content, start):
    for stream in (content, start + content, start + b"\x08\0\0\0" + content):
        with contextlib.suppress(ValueError):
            guards.check_tiff(stream, 4096)


def test_tags_that_share_their_data_cost_nothing(grown):
    """Two thousand tags that each claim the same 200 kB; older versions of Pillow made a copy for each."""
    count, shared = 2000, 200_000
    pixels = 8 + 2 + 12 * (9 + count) + 4
    size = [(256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 4, 8), (273, 4, pixels)]
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [*size, (279, 4, 64)]]
    entries += [struct.pack("<HHII", 0x9100 + number, 7, shared, pixels) for number in range(count)]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    kib, said = grown(_READER, head + b"".join(entries) + bytes(4 + shared))
    assert "(1, 1, 8, 8)" in said
    assert kib < 16 << 10


def test_cameras_notes_that_share_their_data_cost_nothing(grown):
    count, shared = 1000, 40_000
    entries = [struct.pack("<HHII", 0x1000 + number, 7, shared, 8) for number in range(count)]
    notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1 + count) + struct.pack("<HHII", 274, 3, 1, 6)
    notes += b"".join(entries) + bytes(4 + shared)
    Image.new("L", (20, 10)).save(buffer := io.BytesIO(), "JPEG", exif=notes)
    kib, said = grown(_READER, buffer.getvalue())
    assert "(1, 1, 20, 10)" in said, "turned"
    assert kib < 16 << 10


@pytest.mark.parametrize("compression", [0, 1, 2])
def test_a_large_bmp_file_in_runs_is_refused(compression):
    stream = bytearray(encoded_bmp(Image.new("P", (512, 513))))
    stream[30] = compression
    if not compression:
        assert files.read_photograph(bytes(stream)).shape[1:] == (513, 512)
        return
    with pytest.raises(ValueError, match="expected at most 262144 pixels in a compressed BMP file, got 262656"):
        files.read_photograph(bytes(stream))


def test_a_small_bmp_file_in_runs_is_read():
    """Two pixels of the value 1 and the end."""
    plain = bytearray(encoded_bmp(Image.new("L", (2, 1), 1)))
    start = int.from_bytes(plain[10:14], "little")
    plain[30] = 1
    runs = bytes(plain[:start]) + b"\x02\x01\0\x01"
    assert files.read_photograph(runs).flatten().tolist() == [1, 1]


def encoded_bmp(picture):
    picture.save(buffer := io.BytesIO(), "BMP")
    return buffer.getvalue()


def test_a_large_jpeg_may_have_fewer_scans(photographs):
    stream = progressive(photographs[0])
    scans = guards._jpeg_scans(stream)
    guards.check_jpeg(stream, (24 << 24) // scans)
    with pytest.raises(ValueError, match=f"expected at most {scans - 1} scans in a JPEG file of its size, got {scans}"):
        guards.check_jpeg(stream, (24 << 24) // scans + 1)


# --- what they would cost

_READER = """type("Photographs", (), {
    "encode": lambda self, images: [codecs.pillow.files.write_picture(images[0], "AVIF")],
    "decode": lambda self, streams: codecs.pillow.files.read_photograph(streams[0])[None],
})()"""


def hidden_avif():
    stream = encoded_avif(Image.new("L", (5000, 5000)), quality=1)
    place = stream.index(b"ispe") + 8
    return stream[:place] + struct.pack(">II", 32, 32) + stream[place + 8 :]


def hidden_tiff():
    return grey_tiff([(322, 4, 8192), (323, 4, 8192)], zeros(8192 * 8192))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (hidden_avif, "expected at most 4096x4096 pixels, got 5000x5000 in the AV1 sequence header"),
        (hidden_tiff, "expected tiles of at most 4096x4096 pixels, got a side of 8192 pixels"),
    ],
)
def test_photographs_that_are_larger_than_they_say_take_no_memory(file, message, grown):
    kib, said = grown(_READER, file())
    assert message in said
    assert kib < 4 << 10


@pytest.mark.parametrize(
    ("file_format", "mode", "bytes_a_pixel"),
    [
        *[("PNG", "RGBA", 9), ("TIFF", "RGBA", 14), ("WEBP", "RGBA", 18), ("AVIF", "RGBA", 18), ("BMP", "RGB", 9)],
        *[("JPEG", "RGB", 9), ("PNG", "L", 4), ("GIF", "P", 9)],
    ],
)
def test_the_largest_photographs_take_memory_for_their_pixels_alone(file_format, mode, bytes_a_pixel, grown):
    """Bytes a pixel: what the decoder needs, four with transparency or twice as many, and those that come out."""
    Image.new(mode, (4096, 4096)).save(buffer := io.BytesIO(), file_format)
    kib, said = grown(_READER, buffer.getvalue())
    assert "4096, 4096" in said
    assert kib < bytes_a_pixel * 4096**2 // 1024


@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_that_would_grow_is_refused(compressed):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED if compressed else 0) as archive:
        archive.writestr("zeros", bytes(100_000))
    with zipfile.ZipFile(buffer) as archive:
        if compressed:
            with pytest.raises(ValueError, match="expected an archive that is not compressed"):
                guards.check_stored(archive, len(buffer.getvalue()))
        else:
            guards.check_stored(archive, len(buffer.getvalue()))
            with pytest.raises(ValueError, match="expected members of at most 99999 bytes together, got 100000"):
                guards.check_stored(archive, 99_999)
