"""Files that are whole or not there."""

import errno
import os
import re

import pytest

from aelib import storage


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000])
def test_damaged_json_is_refused(content, tmp_path):
    (tmp_path / "some.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        storage.read_json(tmp_path / "some.json")
    (tmp_path / "some.json").write_bytes(b'{"a": [1, 2.5]}')
    assert storage.read_json(tmp_path / "some.json") == {"a": [1, 2.5]}


def test_write_whole_makes_folders_and_replaces(tmp_path):
    file = tmp_path / "new" / "deep" / "file.bin"
    for content in (b"first", b"second"):
        storage.write_whole(file, content)
        assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("broken", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file_or_none(tmp_path, monkeypatch, old, broken):
    file = tmp_path / "file.bin"
    if old is not None:
        file.write_bytes(old)
    seen = []

    def fail(path, content):
        seen.append(path)
        if broken == "write_bytes":
            with path.open("wb") as half:  # as on a full disk
                half.write(content[:1])
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(type(file), broken, fail)
        with pytest.raises(OSError, match=f"no space left on device: '{re.escape(str(file))}'"):
            storage.write_whole(file, b"new")
    assert file not in seen, "written in place"
    assert list(tmp_path.iterdir()) == ([] if old is None else [file])
    assert old is None or file.read_bytes() == old


def test_a_folder_that_cannot_be_written_to_is_told_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "new" / "newer"):
        storage.check_writable(folder)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OSError, match=r"expected a folder that can be written to, got .*file.new"):
        storage.check_writable(tmp_path / "file" / "new")

    def full(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(storage.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match=r"expected a folder that can be written to, got .*: .*Read-only file system"):
        storage.check_writable(tmp_path)


def test_a_new_file_is_whole_where_there_are_no_links(tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    storage.write_whole(tmp_path / "a", b"first", new=True)
    with pytest.raises(FileExistsError, match="expected no file"):
        storage.write_whole(tmp_path / "a", b"second", new=True)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"first")]


def lost(file):
    """Write half of a file, and then what is written does not come any more."""
    with storage.whole(file) as partial:
        partial.write_bytes(b"half")
        raise OSError(errno.ECONNRESET, "Connection reset by peer")


def test_only_an_error_of_the_file_itself_names_it(tmp_path):
    with pytest.raises(OSError, match=r"Connection reset by peer$"):
        lost(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"directory: '[^']*folder'$"):
        storage.write_whole(tmp_path / "folder", b"new")
    assert os.listdir(tmp_path) == ["folder"]
