import pytest
import torch
from torch.nn import functional

from aelib import augment
from aelib.images import to_float
from aelib.train import Settings


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))


def test_a_moved_image_is_a_window_of_the_image_and_its_reflection(pictures):
    x, shift = to_float(pictures), 3
    offsets = torch.tensor([[0, 0], [3, -3], [-3, 3], [1, 0], [0, -2], [-1, -1]])
    padded = functional.pad(x, (shift,) * 4, mode="reflect")
    for image, whole, (down, right) in zip(augment.moved(x, offsets), padded, offsets.tolist(), strict=True):
        top, left = shift - down, shift - right
        assert torch.equal(image, whole[:, top : top + 8, left : left + 8])


@pytest.mark.parametrize(("settings", "columns"), [({}, 0), ({"flips": True}, 1), ({"shift": 2}, 3)])
def test_random_numbers_are_drawn_for_what_is_done(settings, columns):
    drawn = augment.draws(500, Settings(**settings), torch.Generator().manual_seed(1))
    assert drawn.shape == (500, columns)
    assert ((drawn >= 0) & (drawn < 1)).all()


def test_nothing_is_changed_by_default(pictures):
    drawn = augment.draws(len(pictures), Settings(), torch.Generator())
    assert torch.equal(augment.changed(pictures, drawn, Settings()), to_float(pictures))


def test_all_moves_up_to_the_shift_are_taken_about_equally_often():
    settings = Settings(shift=2)
    spot = torch.zeros(2500, 1, 9, 9, dtype=torch.uint8)
    spot[:, :, 4, 4] = 255
    drawn = augment.draws(len(spot), settings, torch.Generator().manual_seed(1))
    counts = augment.changed(spot, drawn, settings).sum(dim=(0, 1))
    assert (counts[2:7, 2:7] > 60).all(), "25 places, each with 100 images on average"
    assert counts.sum() == counts[2:7, 2:7].sum() == len(spot)


def test_images_are_mirrored_then_moved(pictures):
    settings = Settings(flips=True, shift=1)
    drawn = torch.tensor([[0.1, 0.0, 0.99], [0.9, 0.5, 0.5]])
    first, second = augment.changed(pictures[:2], drawn, settings)
    x = to_float(pictures[:2])
    assert torch.equal(first[:, :7, 1:], x[0].flip(2)[:, 1:, :7])
    assert torch.equal(second, x[1])
