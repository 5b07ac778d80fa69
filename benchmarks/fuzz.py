"""Feed damaged streams and files to every decoder and loader, for ``results/fuzz.json``: ``make fuzz``.

A mutation loop over valid seeds: bits turned over, bytes set, runs cut out, doubled or put in from other seeds, numbers
made extreme. A target may return or raise ValueError; anything else, more than a second, or more than 64 MiB of growth
is a finding, and its input is written to ``runs/fuzz``. A killed process (a crash in a library) is one too. An input
that takes more than a second is measured again, for a busy machine makes any of them wait: it is a finding if none of
four measurements stays within the second, and else counts as measured again. A stopped run goes on at the part of a
target where it was, as long as code, weights, results and packages are the same. A target replaces its own row of the
table; each row has the hash of the code that it was measured on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import io
import json
import multiprocessing
import os
import random
import re
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import record
import torch
from PIL.PngImagePlugin import PngInfo

from aelib import (
    benchmark,
    checkpoints,
    codecs,
    containers,
    data,
    files,
    learned,
    mapped,
    models,
    sources,
    storage,
    tables,
    train,
    train_codec,
    train_rate,
    zoo,
)
from aelib import images as im
from aelib.arguments import positive_int
from aelib.cards import tables_name

ROOT = Path(__file__).parent.parent
RESULTS, FINDINGS = ROOT / "results" / "fuzz.json", ROOT / "runs" / "fuzz"
PACKAGES = ("aelib", "torch", "numpy", "pillow")
CURVES, SIZES, PUBLISHED = "cifar10-*.json", "ladder.json", "published.json"  # results that are seeds
PART = 20_000  # inputs that are tried, and kept, together
SECONDS, MEBIBYTES, STALL = 1.0, 64, 30.0
MEASUREMENTS = 4  # at most, of an input that takes too long
REFUSED = "refused"
LONGEST = 1 << 21  # bytes of an input
_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0")

Target = tuple[list[bytes], Callable[[bytes], object]]


def codec_target(codec: codecs.Codec, *, channels: int = 3, any_size: bool = True, side: int | None = None) -> Target:
    """Return streams of a codec, of pictures of `side` rows and columns, and what decodes one and finds its payload."""
    images = data.load("cifar10" if channels == 3 else "mnist", "test", source="sample").images[:3, :, :side, :side]

    def decode(stream: bytes) -> None:
        refused: list[ValueError] = []
        for step in (lambda: codec.decode([stream]), lambda: codec.payload(stream)):
            try:  # apart, for the second's ValueError would hide any other error of the first
                step()
            except ValueError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    others = (images[:1, :, :5, :7], images[:1].repeat(1, 1, 2, 2)) if any_size else ()
    return [stream for own in (images, *others) for stream in codec.encode(own)], decode


def file_target(seeds: list[bytes], read: Callable[[Path], object], name: str, *beside: Path) -> Target:
    """Return seeds and what reads a file in which one is, with whole files beside it."""
    folder = Path(tempfile.mkdtemp())
    for other in beside:
        (folder / other.name).write_bytes(other.read_bytes())

    def check(content: bytes) -> None:
        file = folder / name
        file.write_bytes(content)
        read(file)

    return seeds, check


def photographs() -> Target:
    """Return picture files of several formats and what opens those of users."""
    picture = data.load("cifar10", "test", source="sample").images[0]
    formats = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
    turned = [files.write_picture(picture, name, exif=_TURNED) for name in ("PNG", "JPEG", "WEBP", "AVIF")]
    text = PngInfo()
    text.add_itxt("Comment", "a" * 3000 + "\N{GRINNING FACE}", zip=True)
    told = files.write_picture(picture, "PNG", pnginfo=text)
    return [*(files.write_picture(picture, name) for name in formats), *turned, told], files.read_photograph


def results() -> Target:
    """Return results and what reads them and draws tables of their hulls."""

    def drawn(file: Path) -> None:
        tables.matched({"own": benchmark.read(file)[0]}, (8, 16), title="some")

    return file_target([_smallest(CURVES)], drawn, "some.json")


def cards() -> Target:
    """Return cards of weights and what loads a model by one."""
    name = "mnist-conv-4"
    card, weights = (zoo.WEIGHTS / f"{name}.{suffix}" for suffix in ("json", "safetensors"))
    return file_target([card.read_bytes()], lambda file: zoo.load(name, folder=file.parent), card.name, weights)


def ordered_cards() -> Target:
    """Return cards of an ordered network and what finds, loads and offers a prefix by one."""
    whole, cut = "mnist-ordered-64", "mnist-ordered-16"
    card, weights, tables = (
        zoo.WEIGHTS / name for name in (f"{whole}.json", f"{whole}.safetensors", tables_name(cut, whole))
    )

    def check(file: Path) -> None:
        zoo.offered("mnist", "ordered", folder=file.parent)
        zoo.load_codec(cut, folder=file.parent)

    text = card.read_bytes()
    huge = re.sub(rb'"mean_psnr": \d', b'"mean_psnr": 1' + bytes(400).replace(b"\0", b"0"), text)
    return file_target([text, huge], check, card.name, weights, tables)


def weights(name: str, suffix: str, field: str, source: Path = zoo.WEIGHTS) -> Target:
    """Return weights or tables, to which the card is made to fit, and what loads them."""
    folder = Path(tempfile.mkdtemp())
    for file in source.glob(f"{name}.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    text = (source / f"{name}.json").read_text()

    def load(content: bytes) -> None:
        card = json.loads(text) | {field: hashlib.sha256(content).hexdigest()}  # else only the hash would be tried
        (folder / f"{name}.json").write_text(json.dumps(card))
        (folder / f"{name}{suffix}").write_bytes(content)
        if name.endswith("learned"):
            zoo.load_learned(name.split("-")[0], folder=folder)
        else:
            zoo.load_codec(name, folder=folder)

    return [(source / f"{name}{suffix}").read_bytes()], load


def learned_weights() -> Target:
    """Return weights of a small learned codec, in which damage seldom misses what matters, and what loads them."""
    model, folder = learned.Model(small_design()).eval(), Path(tempfile.mkdtemp())
    codec = codecs.Learned.of(model, data.load("mnist", "train", source="sample").images[:20])
    zoo.save_learned(codec, {"name": "mnist-learned", "design": learned.fields(small_design())}, folder=folder)
    return weights("mnist-learned", ".safetensors", "sha256", folder)


def many_lanes() -> Target:
    """Return streams of a small learned codec, of pictures of 1, 2 and 17 lanes, and what decodes one."""
    digits = data.load("mnist", "train", source="sample").images
    codec = codecs.Learned.of(learned.Model(small_design()).eval(), digits[:20])
    picture = im.tile(digits[:25], columns=5)[:, :136, :128]
    streams = [*codec.encode(picture[None, :, :32, :32]), *codec.encode(picture[None, :, :64, :32])]
    return [*streams, *codec.encode(picture[None])], lambda stream: codec.decode([stream])


def small_design() -> learned.Design:
    """Return a design of little networks."""
    return replace(learned.DESIGNS["mnist"], widths=(4, 8), blocks=(1, 1), groups=(1, 3), hidden=4)


def learned_cards() -> Target:
    """Return cards of a learned codec and what loads it by one."""
    card, weights = (zoo.WEIGHTS / f"mnist-learned.{suffix}" for suffix in ("json", "safetensors"))
    load = partial(zoo.load_learned, "mnist")
    return file_target([card.read_bytes()], lambda file: load(folder=file.parent), card.name, weights)


def any_learned() -> Target:
    """Return streams and what finds the shipped codec of one; the weights, the same for all, are loaded once."""
    zoo.load_learned = cache(zoo.load_learned)  # in this process, which has no other target
    return codec_target(zoo.load_learned("mnist", 3), channels=1)[0], zoo.learned_for


def checkpoint() -> Target:
    """Return what a checkpoint of a small network says, and what goes on with its training, which was done."""
    images = torch.arange(20 * 64, dtype=torch.uint8).reshape(20, 1, 8, 8)
    settings, model = train.Settings(epochs=1, batch_size=10, average=0.9), models.build("dense", 2, channels=1, size=8)

    def fit(file: Path) -> list[str]:
        return [str(epoch) for epoch in train.fit(model, images, images, settings, device="cpu", checkpoint=file)]

    return repacked(fit)


def rate_checkpoint() -> Target:
    """Return what a checkpoint of the learned codec's training says, of one layer, and what restores it."""
    layer, origin = torch.nn.Linear(3, 2), {"settings": {"steps": 3}}
    parts = {"model": layer, "optimizer": torch.optim.Adam(layer.parameters())}
    layer(torch.ones(3)).sum().backward()
    parts["optimizer"].step()
    count = len(train_rate.QUALITIES)
    look = train_rate.Look(3, 0.5, [1.0] * count, [30.0] * count, 2.0)
    possible = partial(train_rate._possible, looks=[3])

    def restore(file: Path) -> list[str]:
        if not file.is_file():
            checkpoints.save(file, parts, origin, [asdict(look)])
        cpu = torch.device("cpu")
        return [str(each) for each in checkpoints.restore(file, parts, origin, train_rate.Look, cpu, possible=possible)]

    return repacked(restore)


def repacked(resume: Callable[[Path], object]) -> Target:
    """Return the pickle of a checkpoint that `resume` writes where there is none, and what resumes from a damaged one.

    The checksums are made to fit, else only they would be tried.
    """
    file = Path(tempfile.mkdtemp()) / "some.pt"
    resume(file)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (said,) = (name for name in members if name.endswith("data.pkl"))

    def check(content: bytes) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, member in (members | {said: content}).items():
                archive.writestr(name, member)
        with contextlib.suppress(FloatingPointError):  # as is documented, of weights that are none
            resume(file)

    asks = b"\x80\x02cbuiltins\nbytearray\nJ" + (1 << 30).to_bytes(4, "little") + b"\x85R."  # for a gibibyte
    return [members[said], asks], check


def cached_data() -> Target:
    """Return a cache file of small arrays, and what reads the cache of a data set that is these."""
    arrays = {key: np.arange(9, dtype=np.uint8) for key in data.SHA256["mnist"]}
    np.savez(stream := io.BytesIO(), **arrays)
    hashes = {key: hashlib.sha256(array).hexdigest() for key, array in arrays.items()}

    def read(file: Path) -> None:
        with mock.patch.dict(data.SHA256, {"mnist": hashes}):
            data._read_cache(file, "mnist")

    return file_target([stream.getvalue()], read, "mnist.npz")


def mapped_images() -> Target:
    """Return a file of images and what maps it, and looks at them."""
    np.save(stream := io.BytesIO(), np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4))
    return file_target([stream.getvalue()], lambda file: mapped.read(file).sum(), "images.npy")


def package(dataset: str) -> Target:
    """Return small archives as a mirror sends them, and what unpacks one; OSError asks the next source."""
    if dataset == "mnist":
        sizes = {"images-idx3": 16 + 2 * 784, "labels-idx1": 8 + 2}
        members = {
            f"package/data/{part}-{name}-ubyte": bytes(size)
            for name, size in sizes.items()
            for part in ("train", "t10k")
        }
    else:
        picture = files.write_picture(torch.zeros(3, 2, 1024, dtype=torch.uint8), "PNG")
        names = [*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]
        members = {f"package/{name}.png": picture for name in names}
        members |= {f"package/{part}_lables.json": b"[3, 5]" for part in ("train", "test")}
    return unpacking(members, "package", sources._UNPACK[dataset])


def official() -> Target:
    """Return a small archive as the official source of photographs sends it, and what unpacks one."""
    names = [*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]
    members = {f"cifar-10-batches-bin/{name}.bin": bytes(2 * 3073) for name in names}
    return unpacking(members, "cifar-10-batches-bin", sources._official_cifar10)


def unpacking(members: dict[str, bytes], folder: str, arrange: Callable[..., Any]) -> Target:
    """Return an archive of these members, compressed and with bytes in the clear, and what unpacks one."""
    seeds = []
    for level in (9, 0):  # without compression, so that damage meets members and headers
        with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w:gz", compresslevel=level) as archive:
            for name, content in members.items():
                (member := tarfile.TarInfo(name)).size = len(content)
                archive.addfile(member, io.BytesIO(content))
        seeds.append(stream.getvalue())

    def unpacked(file: Path) -> None:
        try:
            sources._unpack(file, "images", folder, arrange)
        except OSError as error:
            raise ValueError(str(error)) from error

    return file_target(seeds, unpacked, "package.tgz")


def beginning() -> Target:
    """Return a checkpoint that another training may begin with, and what reads it."""
    had = small_design()
    state = {"average": learned.Model(had).state_dict(), "settings": {"steps": 3}, "design": learned.fields(had)}
    torch.save(state | {"history": [{"step": 3, "seconds": 1.0}]}, stream := io.BytesIO())
    wanted = replace(had, high=0.5)  # whose prices are others
    return file_target([stream.getvalue()], lambda file: train_codec._read(file, wanted), "other.pt")


@cache
def targets() -> dict[str, Callable[[], Target]]:
    """Return all targets by name, those that take longest first; made only in the process that needs them."""
    made: dict[str, Callable[[], Target]] = {
        "learned": lambda: codec_target(zoo.load_learned("cifar10", 7), side=8),
        "learned weights": learned_weights,
        "learned, lanes": many_lanes,
        "learned, grey": lambda: codec_target(zoo.load_learned("mnist", 7), channels=1, side=8),
        "jpeg": lambda: codec_target(codecs.Jpeg(30)),
        "webp": lambda: codec_target(codecs.WebP(30)),
        "avif": lambda: codec_target(codecs.Avif(30)),
        "png": lambda: codec_target(codecs.Png()),
        "jpeg2000": lambda: codec_target(codecs.Jpeg2000(25)),
        "jpegxl": lambda: codec_target(codecs.JpegXl(3.0)),
        "autoencoder": lambda: codec_target(zoo.load_codec("cifar10-conv-16"), any_size=False),
        "fixed length": lambda: fixed_length("mnist-conv-4"),
        "blocks": lambda: codec_target(codecs.Blocks(zoo.load_codec("cifar10-conv-16"))),
        "photographs": photographs,
        "containers": lambda: ([containers.join([b"one", b"", b"three" * 50])], lambda part: containers.split(part, 3)),
        "card": cards,
        "ordered card": ordered_cards,
        "weights": lambda: weights("mnist-conv-4", ".safetensors", "sha256"),
        "tables": lambda: weights("mnist-conv-4", ".tables.safetensors", "tables_sha256"),
        "learned card": learned_cards,
        "any learned": any_learned,
        "results": results,
        "sizes": lambda: file_target([_smallest(SIZES)], lambda f: tables.read_sizes(f, "mnist"), "sizes.json"),
        "published": lambda: file_target([_smallest(PUBLISHED)], tables.read_published, "published.json"),
        "checkpoint": checkpoint,
        "rate checkpoint": rate_checkpoint,
        "cached data": cached_data,
        "mapped": mapped_images,
        "package": lambda: package("mnist"),
        "package, photographs": lambda: package("cifar10"),
        "official": official,
        "begin": beginning,
    }
    return made


def fixed_length(name: str) -> Target:
    """Return the target of latents at fixed length."""
    own = zoo.load_codec(name)
    return codec_target(codecs.FixedLength(own.model, own.quantiser, 6), channels=1, any_size=False)


def _smallest(pattern: str) -> bytes:
    return min((file.read_bytes() for file in (ROOT / "results").glob(pattern)), key=len)


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """Return a damaged seed."""
    broken = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8, 30))):
        at = chance.randrange(len(broken) + 1)
        length = chance.choice((1, 1, 2, 4, 8, 64))
        match chance.randrange(7):
            case 0 if at < len(broken):
                broken[at] ^= 1 << chance.randrange(8)
            case 1:
                broken[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                del broken[at : at + length]
            case 3:
                broken[at:at] = broken[at : at + length] * chance.choice((1, 1, 2, 50))
            case 4:
                other = chance.choice(seeds)
                begin = chance.randrange(len(other) + 1)
                broken[at : at + length] = other[begin : begin + length]
            case 5:
                extreme = chance.choice(EXTREMES)
                broken[at : at + len(extreme)] = extreme
            case _:
                del broken[at:]
    return bytes(broken)


def memory(field: str) -> float:
    """Return what Linux says of this process's memory, VmRSS or VmHWM, in MiB; 0 elsewhere."""
    if sys.platform != "linux":
        return 0.0
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def run(name: str, count: int, seed: str, current: Any, length: Any, report: Any) -> None:
    """Feed `count` inputs to a target and report what was found; the input being tried stands in `current`."""
    torch.set_num_threads(1)
    seeds, target = targets()[name]()
    accepted = 0
    for good in seeds:
        with contextlib.suppress(ValueError):  # some seeds are there to be refused
            target(good)
            accepted += 1
    if not accepted:
        raise ValueError("expected seeds of which some are accepted, got none")
    if max(map(len, seeds)) > LONGEST:
        raise ValueError(f"expected seeds of at most {LONGEST} bytes, got one of {max(map(len, seeds))}")
    chance = random.Random(f"{name} {seed}")
    row: dict[str, Any] = {
        "target": name,
        "inputs": count,
        "refused": 0,
        "read": 0,
        "measured_again": 0,
        "findings": [],
    }
    row |= {"longest_seconds": 0.0, "largest_growth_mib": 0.0}
    for _ in range(count):
        content = mutated(seeds, chance)[:LONGEST]
        ctypes.memmove(current, content, len(content))
        length.value = len(content)
        tries = [measured(target, content)]
        while min(tries)[0] > SECONDS and len(tries) < MEASUREMENTS:
            tries.append(measured(target, content))
        row["measured_again"] += len(tries) > 1
        taken, grown = min(tries)[0], max(one[1] for one in tries)
        row["longest_seconds"] = max(row["longest_seconds"], round(taken, 4))
        row["largest_growth_mib"] = max(row["largest_growth_mib"], round(grown, 1))
        row["refused"] += tries[0][2] == REFUSED
        row["read"] += tries[0][2] == ""
        reasons = [one[2] for one in tries if one[2] not in ("", REFUSED)]
        if taken > SECONDS or grown > MEBIBYTES:
            reasons.append(f"{taken:.2f} s, {grown:.0f} MiB")
        if reasons:
            row["findings"].append(f"{reasons[0][:200]}: {keep(name, content)}")
    report.send(row)


def measured(target: Callable[[bytes], object], content: bytes) -> tuple[float, float, str]:
    """Feed an input to a target; return seconds, MiB of growth, and what it raised: "", `REFUSED` or a finding."""
    if sys.platform == "linux":
        ctypes.pythonapi.malloc_trim(0)  # else what earlier inputs took could be taken again unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    raised = ""
    before, start = memory("VmRSS"), time.perf_counter()
    try:
        target(content)
    except ValueError:
        raised = REFUSED
    except BaseException as error:
        raised = repr(error)
    taken = time.perf_counter() - start
    return taken, memory("VmHWM") - before, raised


def keep(name: str, content: bytes) -> str:
    """Write an input that is a finding, and return the file's name."""
    file = FINDINGS / f"{re.sub('[^a-z0-9]+', '-', name)}-{hashlib.sha256(content).hexdigest()[:12]}"
    storage.write_whole(file, content)
    return file.name


def watched(name: str, count: int, seed: str) -> dict[str, Any]:
    """Do `run` in a process of its own; one that is killed, or stalls, is a finding too."""
    context = multiprocessing.get_context("spawn")
    current, length = context.RawArray("c", LONGEST), context.RawValue("l", 0)
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(name, count, seed, current, length, theirs))
    process.start()
    theirs.close()
    last, since = b"", time.monotonic()
    while process.is_alive() and not mine.poll(1.0):
        if (now := bytes(current[: length.value])) != last:
            last, since = now, time.monotonic()
        elif last and time.monotonic() - since > STALL:
            process.kill()
    with contextlib.suppress(EOFError):
        row: dict[str, Any] = mine.recv()
        process.join()
        return row
    process.join()
    reason = f"the process ended with {process.exitcode}: {keep(name, bytes(current[: length.value]))}"
    return {"target": name, "inputs": 0, "refused": 0, "read": 0, "findings": [reason], "measured_again": 0} | {
        "longest_seconds": STALL,
        "largest_growth_mib": 0.0,
    }


@cache
def code() -> str:
    """Return a hash of what the targets do and begin with: source, weights, results, packages, when first asked."""
    results = [file for pattern in (CURVES, SIZES, PUBLISHED) for file in sorted((ROOT / "results").glob(pattern))]
    known = [Path(__file__), *(file for file in sorted((ROOT / "aelib").rglob("*")) if file.is_file()), *results]
    parts = [hashlib.sha256(file.read_bytes()).digest() for file in known if "__pycache__" not in file.parts]
    versions = [
        sys.version,
        *(version(name) for name in (*PACKAGES, "imagecodecs") if find_spec(name) or name == "pillow"),
    ]
    return hashlib.sha256(b"".join(parts) + repr(versions).encode()).hexdigest()[:16]


def part(name: str, count: int, seed: str) -> dict[str, Any]:
    """Do `watched`, unless it was done before and found nothing."""
    file = FINDINGS / "parts" / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}-{count}-{code()}.json"
    if file.is_file():
        return cast(dict[str, Any], json.loads(file.read_bytes()))
    row = watched(name, count, seed)
    if not row["findings"]:
        storage.write_whole(file, json.dumps(row).encode())
    return row


def together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a target from those of its parts."""
    largest = ("longest_seconds", "largest_growth_mib")
    return rows[0] | {
        key: max(row[key] for row in rows) if key in largest else sum((row[key] for row in rows[1:]), rows[0][key])
        for key in rows[0]
        if key != "target"
    }


def store(row: dict[str, Any], seed: int) -> None:
    """Write a row to the table, in place of the target's last one, with the code that it was measured on."""
    known = {row["target"]: row for row in json.loads(RESULTS.read_bytes())["rows"]} if RESULTS.is_file() else {}
    known[row["target"]] = row | {"seed": seed, "code": code()}
    record.write(RESULTS, PACKAGES, {"rows": [known[name] for name in targets() if name in known]})


def main() -> int:
    """Fuzz all targets or some, print a line each and write them to the table; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python benchmarks/fuzz.py", description=__doc__)
    parser.add_argument("targets", nargs="*", help="some of the targets; all by default")
    parser.add_argument("--inputs", type=positive_int, default=100_000, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.targets) - set(targets()):
        parser.error(f"expected targets out of {list(targets())}, got {sorted(unknown)}")
    names = given.targets or list(targets())
    found = False
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()) as pool:
        waiting = {
            name: [
                pool.submit(part, name, min(PART, given.inputs - done), f"{given.seed}-{done}")
                for done in range(0, given.inputs, PART)
            ]
            for name in names
        }
        for row in (together([one.result() for one in parts]) for parts in waiting.values()):
            if given.inputs >= 100_000:
                store(row, given.seed)
            found |= bool(row["findings"])
            print(
                f"{row['target']:14} {row['inputs']:7,} inputs, {row['refused']:7,} refused, "
                f"{len(row['findings'])} findings, at most {row['longest_seconds']:.3f} s and "
                f"{row['largest_growth_mib']:.1f} MiB, {row['measured_again']} measured again",
                *row["findings"][:5],
                sep="\n  ",
                flush=True,
            )
    return int(found)


if __name__ == "__main__":
    raise SystemExit(main())
