import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aelib import images as im

SHAPES = st.tuples(st.integers(1, 7), st.sampled_from((1, 3)), st.integers(1, 9), st.integers(1, 9))
IMAGES = arrays(np.uint8, SHAPES).map(torch.from_numpy)


@given(IMAGES, st.integers(1, 9))
def test_untile_inverts_tile_and_spare_cells_are_black(images, columns):
    count, channels, height, width = images.shape
    picture = im.tile(images, columns)
    assert picture.shape == (channels, -(-count // columns) * height, columns * width)
    tiles = im.untile(picture, (height, width))
    assert torch.equal(tiles[:count], images)
    assert not tiles[count:].any()


def test_tile_goes_row_by_row():
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).reshape(3, 1, 1, 1)
    assert im.tile(images, columns=2).tolist() == [[[10, 20], [30, 0]]]


@pytest.mark.parametrize("columns", [0, -1])
def test_tile_refuses_columns(columns):
    with pytest.raises(ValueError, match=f"columns >= 1, got {columns}"):
        im.tile(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), columns)


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 4, 6), (4, 4)), ((1, 4, 6), (3, 6)), ((1, 4, 6), (0, 6)), ((4, 6), (2, 2))]
)
def test_untile_refuses_sizes(shape, size):
    with pytest.raises(ValueError, match="expected a picture"):
        im.untile(torch.zeros(shape, dtype=torch.uint8), size)


def test_float_and_back_keeps_all_256_values():
    every = torch.arange(256).to(torch.uint8)
    floats = im.to_float(every)
    assert floats.dtype == torch.float32
    assert floats.min() == 0
    assert floats.max() == 1
    assert torch.equal(im.to_uint8(floats), every)


@given(st.floats(-2, 3, width=32))
def test_to_uint8_takes_the_nearest_value(value):
    nearest = int(im.to_uint8(torch.tensor([value])))
    distance = abs(nearest - 255 * min(max(value, 0), 1))
    assert distance <= 0.5 + 255 * 2**-23  # float32 carries the product to 24 bits


@given(IMAGES)
def test_binarise_takes_the_nearer_end(images):
    expected = np.where(images.numpy() > 127.5, 255, 0)
    assert np.array_equal(im.binarise(images).numpy(), expected)


def test_check_returns_what_it_was_given(noise):
    images = noise(2, 3, 4, 5)
    assert im.check(images, channels=3, size=(4, 5)) is images


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 1, 4, 4), np.uint8), TypeError, "torch.uint8 tensor, got ndarray"),
        (torch.zeros(1, 1, 4, 4), TypeError, "torch.uint8, got torch.float32"),
        (torch.zeros(4, 4, dtype=torch.uint8), ValueError, r"\(N, C, H, W\).* got \(4, 4\)"),
        (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), ValueError, r"N, H, W >= 1 .* got \(0, 1, 4, 4\)"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), ValueError, r"C = 1 or 3, got \(1, 2, 4, 4\)"),
        (torch.zeros(1, 1, 4, 0, dtype=torch.uint8), ValueError, r"got \(1, 1, 4, 0\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), ValueError, "expected 3 channels, got 1"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), ValueError, "expected images of 8x4 pixels, got 4x4"),
    ],
)
def test_check_names_what_was_expected_and_what_came(images, error, message):
    with pytest.raises(error, match=message):
        im.check(images, channels=3, size=(8, 4))
