import dataclasses

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aelib import curves, files, metrics
from aelib.codecs import Avif, Jpeg, Jpeg2000, JpegXl, Png, WebP, paid

SHAPES = st.tuples(st.integers(1, 3), st.sampled_from((1, 3)), st.integers(1, 40), st.integers(1, 40))
IMAGES = arrays(np.uint8, SHAPES).map(torch.from_numpy)
CODECS = st.builds(Jpeg, st.integers(1, 95), st.sampled_from(("4:4:4", "4:2:0")), st.booleans(), st.booleans())


@given(IMAGES, CODECS)
def test_decoding_needs_the_bytes_alone(images, codec):
    streams = codec.encode(images)
    assert len(streams) == len(images)
    assert all(isinstance(stream, bytes) for stream in streams)
    decoded = Jpeg(50).decode(streams)  # another codec's settings must not matter
    assert decoded.shape == images.shape
    assert decoded.dtype == torch.uint8


def test_best_quality_is_near_the_original(digits, photographs):
    for images in (digits[:20], photographs[:20]):
        codec = Jpeg(95)
        restored = codec.decode(codec.encode(images))
        assert float(metrics.psnr(images, restored).min()) > 33


def test_quality_buys_psnr_with_bytes(photographs):
    images = photographs[:50]
    bytes_, quality = [], []
    for setting in (5, 25, 50, 75, 95):
        codec = Jpeg(setting)
        streams = codec.encode(images)
        bytes_.append(sum(map(len, streams)))
        quality.append(float(metrics.psnr(images, codec.decode(streams)).mean()))
    assert bytes_ == sorted(set(bytes_))
    assert quality == sorted(set(quality))


def test_optimized_tables_and_less_colour_save_bytes(photographs):
    def total(codec):
        return sum(map(len, codec.encode(photographs[:20])))

    assert total(Jpeg(50, optimize=True)) < total(Jpeg(50, optimize=False))
    assert total(Jpeg(50, "4:2:0")) < total(Jpeg(50))


# What JPEG files of flat images hold, by ITU-T T.81: start and end markers 4, JFIF segment 18, each quantisation table
# 69, frame header 10 + 3 a component, scan header 8 + 2 a component, Huffman tables (each 22 with the one symbol that
# is used; 33 and 183 as in Annex K), and per 8x8 block the codes of "no change" and "end of block": 1 + 1 bit, or as
# in Annex K 2 + 4 bits for brightness and 2 + 2 bits for colour. The last byte is filled up.
@pytest.mark.parametrize(
    ("shape", "codec", "size"),
    [
        ((1, 28, 28), Jpeg(50), 4 + 18 + 69 + 13 + 10 + 2 * 22 + 16 * 2 // 8),
        ((1, 28, 28), Jpeg(50, optimize=False), 4 + 18 + 69 + 13 + 10 + 33 + 183 + 16 * 6 // 8),
        ((3, 32, 32), Jpeg(50), 4 + 18 + 138 + 19 + 14 + 4 * 22 + 48 * 2 // 8),
        ((3, 32, 32), Jpeg(50, "4:2:0"), 4 + 18 + 138 + 19 + 14 + 4 * 22 + 24 * 2 // 8),
        ((3, 32, 32), Jpeg(50, optimize=False), 4 + 18 + 138 + 19 + 14 + 2 * (33 + 183) + (16 * 6 + 32 * 4) // 8),
    ],
)
def test_flat_images_cost_the_file_header(shape, codec, size):
    flat = torch.full((1, *shape), 128, dtype=torch.uint8)
    (stream,) = codec.encode(flat)
    assert len(stream) == size
    assert torch.equal(codec.decode([stream]), flat)


def test_flat_tables_quantise_all_frequencies_alike(photographs):
    (stream,) = Jpeg(50, flat=True).encode(photographs[:1])
    table = stream.index(b"\xff\xdb") + 5  # marker, length and number of the table
    assert set(stream[table : table + 64]) == {16}
    (finer,) = Jpeg(75, flat=True).encode(photographs[:1])
    assert set(finer[table : table + 64]) == {8}


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_with_standard_tables_all_but_the_payload_is_the_same_header(subsampling, photographs):
    codec = Jpeg(50, subsampling, optimize=False)
    streams = codec.encode(photographs[:10])
    for stream in streams:
        assert codec.payload(stream) in stream
    assert len({stream.replace(codec.payload(stream), b"") for stream in streams}) == 1
    assert len({codec.payload(stream) for stream in streams}) == 10


def decode_or_refuse(stream, codec):
    """Broken bytes may still be a picture; anything but a picture or a ValueError fails the test."""
    try:
        picture = codec.decode([stream])
    except ValueError:
        return None
    assert picture.dtype == torch.uint8
    assert picture.ndim == 4
    assert picture.shape[:2] in ((1, 1), (1, 3))
    return picture


@pytest.fixture(scope="module")
def streams(digits, photographs):
    return [Jpeg(50).encode(digits[:1])[0], *(Jpeg(50, mode).encode(photographs[:1])[0] for mode in ("4:4:4", "4:2:0"))]


def test_every_truncation_is_refused_or_whole(streams):
    for stream in streams:
        whole = Jpeg(50).decode([stream])
        for length in range(len(stream) - 2):  # without the end marker alone the picture may be complete
            picture = decode_or_refuse(stream[:length], Jpeg(50))
            assert picture is None or picture.shape == whole.shape
        with pytest.raises(ValueError, match="complete picture"):
            Jpeg(50).decode([stream[: len(stream) // 2]])


@settings(max_examples=300)
@given(data=st.data())
def test_flipped_bits_give_a_picture_or_an_error(streams, data):
    broken = bytearray(data.draw(st.sampled_from(streams)))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decode_or_refuse(bytes(broken), Jpeg(50))


def formats(channels):
    """Every picture format, at high quality."""
    pillow = [Png(), WebP(80, channels), WebP(None, channels), Avif(80, 9, channels), Jpeg(90)]
    return [*pillow, Jpeg2000(45), JpegXl(1.0)]


FORMATS = [
    pytest.param(codec, channels, id=f"{codec.name}-{channels}") for channels in (1, 3) for codec in formats(channels)
]


@pytest.mark.parametrize(("codec", "channels"), FORMATS)
def test_every_format_gives_back_the_picture(codec, channels, digits, photographs, noise):
    images = (digits if channels == 1 else photographs)[:10]
    restored = codec.decode(codec.encode(images))
    assert restored.shape == images.shape
    assert float(metrics.psnr(images, restored).mean()) > 30
    for size in [(1, 1), (5, 9), (40, 3)]:
        assert codec.decode(codec.encode(noise(2, channels, *size))).shape == (2, channels, *size)


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_are_exact(channels, noise):
    images = noise(3, channels, 13, 17)
    for codec in (Png(), WebP(None, channels)):
        assert torch.equal(codec.decode(codec.encode(images)), images)


@pytest.mark.parametrize(("codec", "channels"), FORMATS)
@given(data=st.data())
def test_every_format_survives_broken_streams(codec, channels, digits, photographs, data):
    (stream,) = codec.encode((digits if channels == 1 else photographs)[:1])
    broken = bytearray(stream[: data.draw(st.integers(0, len(stream)))] if data.draw(st.booleans()) else stream)
    for _ in range(data.draw(st.integers(0, 3)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decode_or_refuse(bytes(broken), codec)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WebP(101), "WebP quality from 0 to 100, got 101"),
        (lambda: Avif(-1), "AVIF quality from 0 to 100, got -1"),
        (lambda: Avif(50, 11), "AVIF speed from 0 to 10, got 11"),
        (lambda: Jpeg2000(0), "JPEG 2000 target PSNR from 1 to 100, got 0"),
        (lambda: JpegXl(0.0), "JPEG XL distance from 0.1 to 25, got 0.0"),
        (lambda: WebP(50).encode(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)), "expected 3 channels, got 1"),
    ],
)
def test_settings_of_the_formats_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_platform_without_imagecodecs_is_told(monkeypatch, noise):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="need the package imagecodecs, which this platform lacks"):
        JpegXl(1.0).encode(noise(1, 1, 8, 8))


@pytest.mark.parametrize(("codec", "channels"), FORMATS)
def test_large_pictures_are_decoded_only_when_asked_for(codec, channels, noise):
    stream = codec.encode(noise(1, channels, 20, 30))
    with pytest.raises(ValueError, match=r"expected (at most|from 1 to) 599 pixels, got (20x30|30x20)"):
        codec.decode(stream, max_pixels=599)
    assert codec.decode(stream, max_pixels=600).shape == (1, channels, 20, 30)


@pytest.mark.parametrize("codec", formats(3), ids=lambda codec: codec.name)
def test_the_largest_picture_decoded_unasked_needs_less_than_64_mib(codec, noise, grown):
    (stream,) = codec.encode(noise(1, 3, 1024, 1024))
    kib, said = grown(codec, stream)
    assert 0 < kib < 64 << 10
    assert "(1, 3, 1024, 1024)" in said


def test_what_is_paid_for_depends_on_the_accounting(photographs):
    codec = Jpeg(50)
    (stream,) = codec.encode(photographs[:1])
    assert paid(codec, [stream], "file") == [stream]
    assert len(paid(codec, [stream], "shared")[0]) == len(codec.payload(stream)) + 1
    with pytest.raises(ValueError, match="expected the accounting 'shared' or 'file', got 'mosaic'"):
        paid(codec, [stream], "mosaic")


def test_more_effort_does_not_make_lossless_webp_smaller(photographs):
    most = [files.write_picture(image, "WEBP", lossless=True, quality=100, method=6) for image in photographs[:60]]
    assert sum(map(len, WebP(None).encode(photographs[:60]))) < sum(map(len, most))


@pytest.mark.parametrize("tune", ["iq", "ssim"])
def test_avif_is_tuned_for_what_is_measured(tune, photographs):
    images = photographs[:40]
    measured = []
    for own in ("psnr", tune):
        made = [Avif(quality, 8, tune=own) for quality in (10, 30, 50, 70, 90)]
        streams = [codec.encode(images) for codec in made]
        rates = [8 * np.mean([len(codec.payload(one)) for one in s]) for codec, s in zip(made, streams, strict=True)]
        quality = [metrics.psnr(images, codec.decode(s)).mean() for codec, s in zip(made, streams, strict=True)]
        measured.append(list(zip(rates, map(float, quality), strict=True)))
    assert curves.bjontegaard_delta(*measured).rate > {"iq": 2, "ssim": -2}[tune]


def test_an_animation_costs_no_more_than_its_first_frame(grown):
    frames = np.zeros((200, 512, 512), np.uint8) + np.arange(200, dtype=np.uint8)[:, None, None]  # 50 MiB
    stream = imagecodecs.jpegxl_encode(frames, distance=3.0, effort=3, usecontainer=False)
    assert JpegXl(3.0).decode([stream]).shape == (1, 1, 512, 512)
    kib, said = grown(JpegXl(3.0), stream)
    assert 0 < kib < 16 << 10
    assert "(1, 1, 512, 512)" in said


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(stream):
    with pytest.raises(ValueError, match="complete picture file"):
        Jpeg(50).decode([stream])


def test_a_batch_must_have_one_size(noise):
    codec = Jpeg(50)
    mixed = codec.encode(noise(1, 1, 8, 8)) + codec.encode(noise(1, 1, 8, 16))
    with pytest.raises(ValueError, match=r"one size, got sizes \[\(1, 8, 8\), \(1, 8, 16\)\]"):
        codec.decode(mixed)
    with pytest.raises(ValueError, match="one or more"):
        codec.decode([])


@pytest.mark.parametrize("quality", [0, 96, 50.0, "50", None])
def test_quality_out_of_range(quality):
    with pytest.raises(ValueError, match="quality from 1 to 95, got"):
        Jpeg(quality)


def test_unknown_subsampling():
    with pytest.raises(ValueError, match="4:4:4 or 4:2:0, got '4:1:1'"):
        Jpeg(50, "4:1:1")


def test_encode_refuses_other_images(noise):
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        Jpeg(50).encode(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="C = 1 or 3"):
        Jpeg(50).encode(noise(1, 2, 8, 8))


def test_settings_are_values_and_have_a_name():
    codec = Jpeg(30, "4:2:0")
    assert codec == Jpeg(30, "4:2:0")
    assert codec.name == "JPEG 4:2:0 q30"
    with pytest.raises(dataclasses.FrozenInstanceError):
        codec.quality = 40
