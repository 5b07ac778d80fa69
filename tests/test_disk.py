"""Disks that are full and folders that refuse, real ones: an OSError, what was there stays, nothing half is left."""

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from aelib import benchmark, checkpoints, codecs, mapped, models, storage, zoo

resource = pytest.importorskip("resource", reason="sets limits as Unix does")

NAME, ROOM = "mnist-conv-2", 4096  # bytes


def write_weights(folder):
    """Weights, tables and card, as `aelib.pretrain` does."""
    coder = zoo.load_codec(NAME)
    zoo.save(coder.model, coder.quantiser, zoo.card(NAME), folder=folder)


def write_results(folder):
    point = benchmark.measure(codecs.Png(), torch.zeros(1, 1, 16, 16, dtype=torch.uint8))
    benchmark.write(folder / "results.json", [point] * 20, {})


def write_checkpoint(folder):
    checkpoints.save(folder / "run.pt", {"model": models.build("conv", 2, channels=1, size=28)}, {}, [])


def write_images(folder):
    mapped.write(folder / "images.npy", [torch.zeros(8, 1, 28, 28, dtype=torch.uint8)] * 2, 16)


WRITERS = [write_weights, write_results, write_checkpoint, write_images]


@contextlib.contextmanager
def full_disk():
    """No file grows beyond `ROOM`: the write that would is cut short, and the next one refused (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def nobody():
    """Who is refused nothing becomes, for a while, a user who is."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def read_only():
    """A folder that others may enter and nobody may write to; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "results").mkdir()
        Path(name).chmod(0o755)
        yield folder
        folder.chmod(0o755)


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_disk_is_full(tmp_path):
    """The limit is real: half of the file is there, and what wrote in place would have lost the old one."""
    (tmp_path / "some").write_bytes(b"old")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        (tmp_path / "some").write_bytes(bytes(2 * ROOM))
    assert (tmp_path / "some").stat().st_size == ROOM
    (tmp_path / "some").write_bytes(bytes(2 * ROOM))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("began", [False, True])
def test_a_full_disk_leaves_the_old_file_or_none(write, began, tmp_path):
    if began:
        write(tmp_path)
        for file in tmp_path.iterdir():
            file.write_bytes(b"old")
    before = content(tmp_path)
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        write(tmp_path)
    assert caught.value.errno == errno.EFBIG
    assert str(tmp_path) in str(caught.value), "which file was it?"
    assert content(tmp_path) == before
    write(tmp_path)
    assert max(map(len, content(tmp_path).values())) > ROOM, "it would have fitted"


@pytest.mark.parametrize("write", WRITERS)
def test_a_read_only_folder_keeps_what_it_holds(write, read_only):
    write(read_only)
    before = content(read_only)
    read_only.chmod(0o555)
    with nobody(), pytest.raises(PermissionError, match=str(read_only)):
        write(read_only)
    assert content(read_only) == before


def test_a_read_only_folder_is_told_at_once(read_only):
    """As before the first epoch; checked alone, since nobody may not import what training does."""
    read_only.chmod(0o555)
    for folder in (read_only, read_only / "new" / "newer"):
        with nobody(), pytest.raises(OSError, match=f"expected a folder that can be written to, got {folder}"):
            storage.check_writable(folder)
    assert content(read_only) == {}


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_in_the_place_of_a_folder_stays(write, tmp_path):
    (tmp_path / "results").write_bytes(b"old")
    for folder in (tmp_path / "results", tmp_path / "results" / "deeper"):
        with pytest.raises(OSError, match=str(tmp_path / "results")):
            write(folder)
    assert content(tmp_path) == {"results": b"old"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc refuses everybody")
def test_a_folder_that_refuses_even_root():
    before = set(os.listdir("/proc/self"))
    with pytest.raises(OSError, match="expected a folder that can be written to, got /proc/self"):
        storage.check_writable(Path("/proc/self"))
    with pytest.raises(OSError, match="/proc/self/some"):
        storage.write_whole(Path("/proc/self/some"), b"new")
    assert set(os.listdir("/proc/self")) == before
