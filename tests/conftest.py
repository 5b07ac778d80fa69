"""What all tests share: no network, no data or settings of the user, no window, and small images to work on."""

import ipaddress
import os
import socket
import subprocess
import sys

import matplotlib
import pytest
import torch
from hypothesis import settings

from aelib import data

collect_ignore = ["offline"]  # looking for doctests there would start its watch over this process
matplotlib.use("Agg")
# Small tensors gain nothing from more threads, here and in the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# The same examples in every run, however slow the machine.
settings.register_profile("aelib", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("aelib")


@pytest.fixture(autouse=True)
def hermetic(request, monkeypatch, tmp_path):
    if request.node.get_closest_marker("full_data") or request.node.get_closest_marker("browser"):
        return
    monkeypatch.setenv("AELIB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("AELIB_SOURCE", raising=False)
    connect = socket.socket.connect

    def local_only(self, address):
        local = self.family == getattr(socket, "AF_UNIX", None) or ipaddress.ip_address(address[0]).is_loopback
        assert local, f"expected a test without network, got a connection to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def samples():
    """The bundled images: data set name and part to Dataset."""
    return {(name, part): data.load(name, part, source="sample") for name in data.CLASSES for part in ("train", "test")}


@pytest.fixture(scope="session")
def digits(samples):
    return samples["mnist", "train"].images


@pytest.fixture(scope="session")
def photographs(samples):
    return samples["cifar10", "train"].images


@pytest.fixture
def noise():
    """Make uint8 images of independent random values, (N, C, H, W)."""

    def make(*shape, seed=0):
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

    return make


_GROWTH = """
import re, sys
from pathlib import Path
import torch
from aelib import codecs, zoo
from aelib.codecs import *

def kib(what):
    return int(re.search(what + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(2)
codec = eval(sys.argv[1])
codec.decode(codec.encode(torch.zeros(1, int(sys.argv[2]), 16, 16, dtype=torch.uint8)))
stream = sys.stdin.buffer.read()
before = kib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
try:
    print(tuple(codec.decode([stream]).shape), file=sys.stderr)
except ValueError as error:
    print(error, file=sys.stderr)
print(kib("VmHWM") - before)
"""


@pytest.fixture(scope="session")
def grown():
    """Measure by how many KiB a process grows at most that decodes a stream, and what it said of it; Linux only."""
    if sys.platform != "linux":
        pytest.skip("counts the peak of memory as Linux does")

    def measure(codec, stream, channels=3):
        command = [sys.executable, "-c", _GROWTH, codec if isinstance(codec, str) else repr(codec), str(channels)]
        run = subprocess.run(command, input=stream, capture_output=True, check=True, timeout=60)
        return int(run.stdout), run.stderr.decode()

    return measure
