import contextlib
import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from aelib import files

SHAPES = st.tuples(st.integers(1, 7), st.sampled_from((1, 3)), st.integers(1, 9), st.integers(1, 9))
IMAGES = arrays(np.uint8, SHAPES).map(torch.from_numpy)
RED, BLUE = (200, 30, 40), (20, 60, 220)


def encoded(picture, file_format="PNG", **options):
    """The bytes of a picture of Pillow's, or of an array."""
    buffer = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, file_format, **options)
    return buffer.getvalue()


def two_colours():
    """32 x 16 pixels, the left half red, the right half blue."""
    picture = Image.new("RGB", (32, 16), RED)
    picture.paste(BLUE, (16, 0, 32, 16))
    return picture


# --- read_picture and write_picture


@given(IMAGES)
def test_png_round_trip_is_exact(images):
    for image in images:
        assert torch.equal(files.read_picture(files.write_picture(image, "PNG"), "PNG"), image)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_read_picture_takes_all_colour_modes(mode, channels):
    picture = files.read_picture(encoded(Image.new(mode, (5, 4)), "TIFF"), "TIFF")
    assert picture.shape == (channels, 4, 5)
    assert picture.dtype == torch.uint8


def test_read_picture_converts_between_grey_and_rgb(noise):
    grey = noise(1, 1, 4, 5)[0]
    file = files.write_picture(grey, "PNG")
    assert torch.equal(files.read_picture(file, "PNG", channels=3), grey.expand(3, 4, 5))
    assert files.read_picture(files.write_picture(noise(1, 3, 4, 5)[0], "PNG"), "PNG", channels=1).shape == (1, 4, 5)


def test_read_picture_refuses_large_pictures_and_other_formats(noise):
    file = files.write_picture(noise(1, 1, 4, 5)[0], "PNG")
    with pytest.raises(ValueError, match="at most 19 pixels, got 5x4"):
        files.read_picture(file, "PNG", max_pixels=19)
    with pytest.raises(ValueError, match="complete picture file"):
        files.read_picture(file, "JPEG")


def test_write_picture_refuses_what_a_format_cannot_hold():
    with pytest.raises(ValueError, match="expected a size that JPEG knows, got 1x70000 pixels"):
        files.write_picture(torch.zeros(3, 1, 70_000, dtype=torch.uint8), "JPEG")
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        files.write_picture(torch.zeros(3, 4, 4), "PNG")


def test_a_pillow_without_a_format_is_told(monkeypatch):
    monkeypatch.setattr(files.features, "check", lambda feature: False)
    with pytest.raises(ImportError, match=r"expected a Pillow with avif, got version .* built without it"):
        files.require_format("avif")


@pytest.mark.parametrize("file", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("read", [partial(files.read_picture, file_format="PNG"), files.read_photograph])
def test_other_bytes_are_refused_in_words(read, file):
    with pytest.raises(ValueError, match=f"complete picture file, got {len(file)} bytes .*: no known format") as caught:
        read(file)
    assert "0x" not in str(caught.value), "an address in memory says nothing to a reader"


# --- read_photograph


@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("GIF", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        # Flat areas lose a few levels to rounding of YCbCr and of one quantised coefficient.
        ("WEBP", {"quality": 90}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, 8),
    ],
)
def test_a_photograph_of_any_format_has_its_colours(file_format, options, tolerance):
    if file_format == "AVIF":
        files.require_format("avif")
    picture = files.read_photograph(encoded(two_colours(), file_format, **options))
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 16, 32)
    error = (picture.int() - torch.tensor([*[RED] * 16, *[BLUE] * 16]).T.reshape(3, 1, 32)).abs()
    if tolerance:
        error[:, :, 14:18] = 0  # chroma of half the resolution smears over the edge
    assert int(error.max()) <= tolerance


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_grey_photographs_stay_grey(file_format):
    picture = files.read_photograph(encoded(Image.new("L", (5, 4), 77), file_format))
    assert picture.shape == (1, 4, 5)
    assert set(picture.flatten().tolist()) == {77}


def test_one_bit_a_pixel_is_black_and_white():
    picture = files.read_photograph(encoded(np.array([[True, False, True]])))
    assert picture.tolist() == [[[255, 0, 255]]]


@pytest.mark.parametrize(
    ("mode", "pixels", "expected"),
    [
        # Clear is white, opaque is itself, 102 of 255 is two fifths of itself and three fifths of white.
        ("RGBA", [(10, 20, 30, 0), (10, 20, 30, 255), (0, 100, 255, 102)], [(255,) * 3, (10, 20, 30), (153, 193, 255)]),
        ("LA", [(10, 0), (10, 255), (100, 102)], [(255,), (10,), (193,)]),
    ],
)
def test_transparent_parts_lie_on_white(mode, pixels, expected):
    picture = Image.new(mode, (3, 1))
    picture.putdata(pixels)
    assert files.read_photograph(encoded(picture)).permute(1, 2, 0).tolist() == [[list(one) for one in expected]]


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_palette_with_a_transparent_colour(file_format):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putdata([0, 1])
    file = encoded(picture, file_format, transparency=1)
    assert files.read_photograph(file).permute(1, 2, 0).tolist() == [[list(RED), [255, 255, 255]]]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(file_format):
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)  # 257 = 65535 / 255; 128 is below its half
    file = encoded(values, file_format)
    assert files.read_photograph(file).tolist() == [[[0, 0, 1, 1, 128, 255]]]


@pytest.mark.parametrize(("kind", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_thirty_two_bits_are_refused(kind, mode):
    """Nobody says which of their values is white."""
    file = encoded(Image.fromarray(np.zeros((4, 5), kind)), "TIFF")
    with pytest.raises(ValueError, match=f"expected values of 8 bits, or of 16 without a sign, got mode {mode}"):
        files.read_photograph(file)


def test_sixteen_bits_in_colour_become_eight():
    """Such a PNG, made by hand (W3C, Portable Network Graphics, 2003, colour type 2); Pillow reads the upper bytes."""
    values = np.array([[[0, 257, 65535], [32896, 400, 20000]], [[51400, 7710, 10280], [5140, 15420, 56540]]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    picture = files.read_photograph(file).permute(1, 2, 0).numpy()
    assert picture.dtype == np.uint8
    assert np.abs(picture - values / 257).max() < 1


# EXIF 2.3, 4.6.4, tag 0112: where row 0 and column 0 of the stored picture belong.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.T, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("sixteen", [False, True])
def test_the_cameras_note_on_rotation_is_heeded(orientation, sixteen):
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(stored.astype(np.uint16) * 257 if sixteen else stored, "PNG", exif=exif)
    assert files.read_photograph(file)[0].tolist() == TURNS[orientation](stored).tolist()


@pytest.mark.parametrize("size", [(4097, 1), (1, 4097)])
def test_a_photograph_that_is_too_large_is_refused(size):
    with pytest.raises(ValueError, match=f"expected at most 4096x4096 pixels, got {size[0]}x{size[1]}"):
        files.read_photograph(encoded(Image.new("1", size)))
    assert files.read_photograph(encoded(Image.new("1", (4096, 1)))).shape == (1, 1, 4096)


def test_size_is_looked_at_before_anything_is_decoded():
    file = encoded(Image.new("1", (8000, 8000)))
    with pytest.raises(ValueError, match="at most 4096x4096 pixels, got 8000x8000"):
        files.read_photograph(file[: len(file) // 2])


def test_size_is_looked_at_again_after_decoding(monkeypatch):
    """ICO, which is not read, has a picture that is larger than its head says; another format could have one."""
    load = PngImagePlugin.PngImageFile.load

    def grow(picture):
        loaded = load(picture)
        picture._size = (5000, 1)
        return loaded

    file = encoded(Image.new("L", (9, 1)))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", grow)
    with pytest.raises(ValueError, match="at most 4096x4096 pixels, got 5000x1"):
        files.read_photograph(file)


@pytest.mark.parametrize("file_format", ["ICO", "ICNS", "PPM", "PCX", "TGA", "SGI", "JPEG2000", "DDS", "EPS", "PDF"])
def test_formats_that_are_not_in_the_list_get_a_sentence(file_format):
    """EPS would start another program, and none of these is what a camera or a browser writes."""
    file = encoded(two_colours(), file_format)
    with pytest.raises(ValueError, match=f"complete picture file, got {len(file)} bytes .*: no known format"):
        files.read_photograph(file)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_a_cut_photograph_is_refused(file_format, photographs):
    if file_format == "AVIF":
        files.require_format("avif")
    whole = encoded(photographs[0].permute(1, 2, 0).contiguous().numpy(), file_format)
    assert files.read_photograph(whole).shape == (3, 32, 32)
    for part in (8, len(whole) // 2, len(whole) - 40):  # the last 20 bytes of a PNG are checksums and an end mark
        with pytest.raises(ValueError, match=f"complete picture file, got {part} bytes"):
            files.read_photograph(whole[:part])


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_photograph_gives_a_picture_or_a_sentence(file_format, changes):
    broken = bytearray(encoded(two_colours(), file_format))
    for place, value in changes:
        broken[place % len(broken)] = value
    with contextlib.suppress(ValueError):  # any other error is a traceback in the reader's face
        picture = files.read_photograph(bytes(broken))
        assert picture.dtype == torch.uint8
        assert len(picture) in (1, 3)
