"""What all tests share: no network, no data or settings of the user, no window, and small images to work on."""

import ipaddress
import os
import socket

import matplotlib
import pytest
import torch
from hypothesis import settings

from aelib import data

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
