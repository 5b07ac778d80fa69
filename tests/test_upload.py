import re

import numpy as np
import pytest
import torch
from PIL import Image

from aelib import benchmark, codecs, files, metrics, upload, zoo
from aelib import images as im

NAME = "cifar10-conv-64"


@pytest.fixture(scope="module")
def picture(photographs):
    """A photograph of 70 x 90 pixels, which no block size divides."""
    return im.tile(photographs[:9], columns=3)[:, :70, :90]


VARIANTS = [(mode, flat) for mode in ("4:2:0", "4:4:4") for flat in (False, True)]


def nearest_jpeg(picture, size, variants=VARIANTS):
    """The distance in bytes of the nearest of all JPEG files of a picture."""
    every = [codecs.Jpeg(quality, mode, flat=flat) for mode, flat in variants for quality in range(1, 96)]
    return min(abs(len(codec.encode(picture[None])[0]) - size) for codec in every)


def named(label):
    """The codec that a label names."""
    mode, flat, quality = re.match(r"JPEG (4:[24]:[04])( flat)?, quality (\d+)", label).groups()
    return codecs.Jpeg(int(quality), mode, flat=bool(flat))


# --- what comes in


def test_a_grey_picture_gets_the_channels_of_the_model(noise):
    grey = noise(1, 1, 5, 4)[0]
    assert torch.equal(upload.with_channels(grey, 1), grey)
    assert torch.equal(upload.with_channels(grey, 3), grey.expand(3, 5, 4))


def test_colour_becomes_grey_as_pillow_does_it(noise):
    colour = noise(1, 3, 16, 16)[0]
    assert torch.equal(upload.with_channels(colour, 3), colour)
    expected = np.asarray(Image.fromarray(colour.permute(1, 2, 0).numpy()).convert("L"))
    # Pillow holds the same three weights to 16 bits, which moves a value across a half at most.
    assert np.abs(upload.with_channels(colour, 1)[0].numpy().astype(int) - expected).max() <= 1


# --- through a model


def test_every_block_is_what_the_model_makes_of_it_alone(picture):
    codec = zoo.load_codec(NAME, 5)
    found = upload.by_blocks(picture, NAME, 5)
    assert found.label == "convolutional, K = 64"
    assert found.picture.shape == picture.shape
    filled = np.pad(picture.numpy(), ((0, 0), (0, 26), (0, 6)), mode="edge")
    for top in range(0, 96, 32):
        for left in range(0, 96, 32):
            block = torch.from_numpy(filled[:, top : top + 32, left : left + 32]).contiguous()
            alone = codec.decode(codec.encode(block[None]))[0]
            shown = found.picture[:, top : top + 32, left : left + 32]
            assert torch.equal(shown, alone[:, : shown.shape[1], : shown.shape[2]])


@pytest.mark.parametrize("size", [0, 900, 1500, 2400, 3333, 10**6])
def test_jpeg_is_the_nearest_of_all_qualities(picture, size):
    found = upload.jpeg_at(picture, size)
    assert abs(found.size - size) == nearest_jpeg(picture, size)
    codec = named(found.label)
    assert codec.encode(picture[None]) == [found.stream]
    assert torch.equal(found.picture, codec.decode([found.stream])[0])


def test_of_large_pictures_one_kind_of_jpeg_is_tried_and_the_words_say_so(picture, monkeypatch):
    small = upload.compare(picture, "cifar10-conv-2", 0).caption
    assert "tried were 4:4:4 and 4:2:0 with standard and flat tables, qualities 1 to 95." in small
    monkeypatch.setattr(upload, "JPEG_PIXELS", picture[0].numel() - 1)
    large = upload.compare(picture, "cifar10-conv-2", 0).caption
    assert "tried were 4:2:0 with standard tables, qualities 1 to 95." in large
    found = upload.jpeg_at(picture, 500)
    assert abs(found.size - 500) == nearest_jpeg(picture, 500, VARIANTS[:1]) > nearest_jpeg(picture, 500)


@pytest.mark.parametrize(("name", "quality"), [(NAME, 7), ("cifar10-conv-256", 4), ("cifar10-conv-2", 0)])
def test_the_words_are_the_rulers(picture, name, quality):
    view = upload.compare(picture, name, quality)
    first, own, other, *note = view.caption.split("\n")
    assert "90 x 70 pixels, 18,900 bytes" in first

    def words(codec):
        point = benchmark.measure(codec, picture[None])
        size = point.rate_file.mean * 70 * 90 / 8
        quality = f"PSNR {point.psnr.mean:.2f} dB, SSIM {point.ssim.mean:.3f}."
        return round(size), f"{size:,.0f} bytes ({point.rate_file.mean:.3f} bpp), {quality}"

    size, expected = words(codecs.Blocks(zoo.load_codec(name, quality)))
    assert own == f"convolutional, K = {zoo.card(name).latent_dim}: {expected}"
    jpeg_size, expected = words(named(other))
    assert other.endswith(f", quality {named(other).quality}: {expected}")
    assert abs(jpeg_size - size) == nearest_jpeg(picture, size)
    assert bool(note) == (abs(jpeg_size / size - 1) > 0.1)
    assert [row.note for row in view.rows] == ["", f"{size:,} bytes", f"{jpeg_size:,} bytes"]


def test_the_rates_come_from_the_ruler(picture, monkeypatch):
    before = upload.compare(picture, NAME, 7).caption
    measured = metrics.bits_per_pixel
    monkeypatch.setattr(metrics, "bits_per_pixel", lambda *of: 1000 * measured(*of))
    after = upload.compare(picture, NAME, 7).caption
    old, new = ([float(rate) for rate in re.findall(r"([\d.]+) bpp", text)] for text in (before, after))
    assert len(new) == 2
    assert new == pytest.approx([1000 * rate for rate in old], abs=0.51)  # of three decimals


@pytest.mark.parametrize(("quality", "reached"), [(0, False), (7, True)])
def test_a_jpeg_that_cannot_come_near_says_so(picture, quality, reached):
    """Two numbers a block are fewer bytes than the tables of any JPEG; 256 finely rounded ones are not."""
    view = upload.compare(picture, "cifar10-conv-256" if reached else "cifar10-conv-2", quality)
    assert ("No JPEG file of this picture comes nearer" in view.caption) == (not reached)


@pytest.mark.parametrize(("ratio", "noted"), [(0.6, True), (0.8, True), (0.95, False), (1.05, False), (1.2, True)])
def test_a_tenth_of_the_bytes_is_worth_a_note(picture, monkeypatch, ratio, noted):
    size = round(upload.by_blocks(picture, NAME, 7).size * ratio)
    monkeypatch.setattr(upload, "jpeg_at", lambda *_: upload.Matched("JPEG", bytes(size), picture.flip(1)))
    assert ("No JPEG file of this picture comes nearer" in upload.compare(picture, NAME, 7).caption) == noted


def test_the_pictures_are_those_that_were_decoded(picture):
    view = upload.compare(picture, NAME, 7)
    own = upload.by_blocks(picture, NAME, 7)
    shown = [files.read_picture(row.png, "PNG") for row in view.rows]
    assert torch.equal(shown[0], picture)
    assert torch.equal(shown[1], own.picture)
    assert torch.equal(shown[2], upload.jpeg_at(picture, own.size).picture)
    assert view.rows[2].label == upload.jpeg_at(picture, own.size).label


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 7), (11, 11), (33, 10)])
@pytest.mark.parametrize("name", ["cifar10-conv-16", "mnist-conv-16"])
def test_pictures_of_any_shape(shape, name, noise):
    picture = noise(1, zoo.card(name).channels, *shape)[0]
    view = upload.compare(picture, name, 7)
    assert [files.read_picture(row.png, "PNG").shape for row in view.rows] == [picture.shape] * 3
    assert f"{shape[1]} x {shape[0]} pixels" in view.caption
    assert ("SSIM" in view.caption) == (min(shape) >= metrics.SSIM_WINDOW)


def test_a_large_picture_is_shown_smaller(photographs):
    wide = im.tile(photographs[:1].repeat(60, 1, 1, 1), columns=30)  # 64 x 960
    view = upload.compare(wide, "cifar10-conv-16", 7)
    shown = [files.read_picture(row.png, "PNG") for row in view.rows]
    assert [tuple(one.shape) for one in shown] == [(3, 32, 480)] * 3
    # The mean over 2 x 2 pixels keeps the mean; rounding moves a value by half a level at most.
    assert float(shown[0].float().mean()) == pytest.approx(float(wide.float().mean()), abs=0.5)
    assert "960 x 64 pixels" in view.caption


# --- digits


def test_mnists_digits_are_centred_already(samples):
    """LeCun et al. (1998) put the centre of mass into the middle; a drawing is to stand where those do."""
    for digit in samples["mnist", "test"].images:
        assert torch.equal(upload.centred(digit), digit)


@pytest.mark.parametrize("move", [(-4, 0), (0, 3), (2, -4), (-3, -3)])
def test_a_moved_digit_comes_back(samples, move):
    centred = 0
    for digit in samples["mnist", "test"].images[:50]:
        moved = torch.roll(digit, move, (1, 2))
        ink = digit[0].nonzero()
        if (ink + torch.tensor(move)).min() >= 0 and (ink + torch.tensor(move)).max() <= 27:
            assert torch.equal(upload.centred(moved), digit)
            centred += 1
    assert centred > 10


def test_a_drawing_to_the_edge_is_not_torn():
    """Heavy at the top and 28 rows tall: whatever left at the bottom must not come in at the top."""
    drawing = torch.zeros(1, 28, 28, dtype=torch.uint8)
    drawing[0, 0:4, 2:20] = 255
    drawing[0, :, 18:20] = 200
    moved = upload.centred(drawing)
    assert torch.equal(moved.sum(2), drawing.sum(2)), "rows stay, for there is no room"
    assert not torch.equal(moved, drawing)
    assert any(torch.equal(moved[:, :, shift:], drawing[:, :, :-shift]) for shift in range(1, 9)), "only to the right"


def test_an_empty_square_stays_empty():
    empty = torch.zeros(1, 28, 28, dtype=torch.uint8)
    assert torch.equal(upload.centred(empty), empty)


@pytest.mark.parametrize("index", [0, 7])
def test_a_digit_goes_through_every_size(samples, index):
    digit = samples["mnist", "test"].images[index]
    view = upload.through_every_size(digit)
    original, restored = (im.untile(files.read_picture(row.png, "PNG"), (28, 28)) for row in view.rows)
    sizes = zoo.sizes("mnist", "conv")
    assert len(original) == len(restored) == len(view.rows[1].cells) == len(sizes)
    for size, one, other, cell in zip(sizes, original, restored, view.rows[1].cells, strict=True):
        codec = zoo.load_codec(f"mnist-conv-{size}")
        assert torch.equal(one, digit)
        assert torch.equal(other, codec.decode(codec.encode(digit[None]))[0])
        point = benchmark.measure(codec, digit[None])
        assert cell == f"K = {size}: {point.rate_shared.mean * 28 * 28 / 8:.0f} B, {point.psnr.mean:.1f} dB"
        assert cell in view.caption
