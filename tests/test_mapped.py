"""Images in a mapped file: what is written and read, what is refused, and two million of them in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from aelib import mapped, models, train

BOUND = 2 << 30  # bytes; PyTorch alone takes half of that, the images would take six GB
TRAIN = """
import resource, sys
from pathlib import Path
import numpy, torch
from aelib import learned, mapped, models, train_rate

resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]),) * 2)
torch.set_num_threads(1)
images = mapped.read(Path(sys.argv[1]))
assert images.shape == (2_000_000, 3, 32, 32)
model = learned.Model(learned.Design(3, widths=(4, 8), blocks=(1, 1), groups=(1, 3), hidden=4))
settings = train_rate.Settings(steps=5, batch_size=8)
looks = train_rate.fit(model, images, images[:10], settings, device="cpu", every=5)
assert looks[-1].step == 5
assert len(models.codes(models.build("conv", 2), images[-1000:])) == 1000
try:
    images.clone()
except RuntimeError as error:
    assert "memory" in str(error), error
    print("bounded")
"""


@pytest.fixture
def images(digits):
    return digits[:70]


@pytest.fixture
def file(images, tmp_path):
    mapped.write(tmp_path / "images.npy", torch.split(images, 32), len(images))
    return tmp_path / "images.npy"


def test_what_is_written_is_read(images, file, recwarn):
    assert torch.equal(mapped.read(file), images)
    assert np.array_equal(np.load(file), images.numpy()), "a file that others read, too"
    assert not recwarn.list
    assert [found.name for found in file.parent.iterdir()] == ["images.npy"]


def test_training_on_a_file_is_training_on_the_same_images_in_memory(images, file, tmp_path):
    settings = train.Settings(epochs=2, batch_size=16, flips=True)
    histories, weights = [], []
    for where, found in (("memory", images), ("file", mapped.read(file))):
        model = models.build("conv", 4, channels=1, size=28)
        checkpoint = tmp_path / f"{where}.pt"
        histories.append(train.fit(model, found, found[:10], settings, device="cpu", checkpoint=checkpoint))
        weights.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    assert histories[0] == histories[1]
    assert torch.equal(*weights)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process keeps besides mapped files")
def test_two_million_images_are_trained_on_in_bounded_memory(tmp_path):
    file = tmp_path / "images.npy"
    with file.open("wb") as stream:  # of zeros, which take no room on a disk
        header = {"descr": "|u1", "fortran_order": False, "shape": (2_000_000, 3, 32, 32)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + 2_000_000 * 3 * 32 * 32)
    command = [sys.executable, "-c", TRAIN, str(file), str(BOUND)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "bounded\n", run.stderr


@pytest.mark.parametrize(
    ("batches", "count", "message"),
    [
        ([(3, 1, 4, 4), (2, 1, 4, 4)], 6, "expected 6 images, one or more, got 5"),
        ([(3, 1, 4, 4), (2, 1, 4, 4)], 4, "expected 4 images, one or more, got 5"),
        ([], 0, "expected 0 images, one or more, got 0"),
        ([(3, 1, 4, 4), (2, 1, 4, 8)], 5, "expected images of 4x4 pixels"),
        ([(3, 1, 4, 4), (2, 3, 4, 4)], 5, "expected 1 channels"),
    ],
)
def test_wrong_batches_leave_no_file(batches, count, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        mapped.write(tmp_path / "a.npy", (torch.zeros(size, dtype=torch.uint8) for size in batches), count)
    with pytest.raises(TypeError, match=r"torch.uint8"):
        mapped.write(tmp_path / "a.npy", [torch.zeros(2, 1, 4, 4)], 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'shape': (10,", b"\x80\x04K\x01."]
)
def test_other_files_are_refused(content, tmp_path):
    file = tmp_path / "other.npy"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected a whole \.npy file of uint8 images in .*other\.npy"):
        mapped.read(file)


def test_a_file_that_is_cut_off_is_refused(file):
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"expected a whole \.npy file"):
        mapped.read(file)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 1, 4, 4)),
        np.zeros((2, 1, 4, 4), np.int8),
        np.zeros((2, 1, 4, 4), np.dtype("V16")),
        np.array(["a"]),
        np.array([{}]),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((0, 1, 4, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(array, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="expected"):
        mapped.read(tmp_path / "a.npy")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.npy"):
        mapped.read(tmp_path / "a.npy")
