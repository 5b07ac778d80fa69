"""Seconds that imports, similarity and the slider cost, and how costs grow: parts of ``benchmarks/bench.py``."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any

import entropy
import matplotlib.pyplot as plt
import numpy as np
import slider
import training
from jupyter_client.manager import run_kernel
from skimage.metrics import structural_similarity
from torch import Tensor

from aelib import codecs, data, metrics, models, train, zoo
from aelib import images as im
from aelib.codecs import Codec
from aelib.codecs.base import MAX_PIXELS

EVERYTHING = "from aelib import benchmark, codecs, data, latent, learned, metrics, models, plots, train, widgets, zoo"
COUNTS, SIDES = (64, 256, 1024), (64, 128, 256, 512, 1024)


def slope(seconds: Mapping[int, float]) -> float:
    """Return the exponent of the power law nearest to times by size: 1 where the cost grows as the size does.

    >>> round(slope({1: 3.0, 2: 6.0, 8: 24.0}), 6)
    1.0
    """
    sizes, times = np.array(list(seconds)), np.array(list(seconds.values()))
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def imports() -> dict[str, float]:
    """Return the seconds that a fresh Python takes to import PyTorch, the package too, and all that it has."""
    codes = {"torch": "import torch", "aelib": "import torch, aelib", "modules": f"import torch\n{EVERYTHING}"}
    return {
        name: entropy.seconds(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True))
        for name, code in codes.items()
    }


def similarity(few: int) -> tuple[int, float, float]:
    """Return how many images all test images are, and the images a second of our own SSIM and of scikit-image's."""
    images = data.load("cifar10", "test").images
    other = codecs.Jpeg(50).decode(codecs.Jpeg(50).encode(images))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    pairs = [[part[n].permute(1, 2, 0).numpy() for part in (images, other)] for n in range(few)]
    theirs = entropy.seconds(lambda: [structural_similarity(*pair, channel_axis=2, **options) for pair in pairs])
    return len(images), len(images) / entropy.seconds(lambda: metrics.ssim(images, other)), few / theirs


def moves() -> tuple[float, float]:
    """Return the seconds of a move of the slider in a kernel, and of drawing a figure anew as `interact` would."""
    with run_kernel(kernel_name="python3", extra_arguments=["--log-level=ERROR"]) as client:
        slider.ask(client, f"import json, sys; sys.path.insert(0, {str(slider.HERE)!r}); import slider")
        slider.ask(client, "widget = slider.BottleneckExplorer(); slider.moves(widget)")  # fills the caches
        own = median(slider.ask(client, "pass", "slider.moves(widget)")) / 1000
    images = data.load("cifar10", "test", source="sample").images[:8]
    restored = models.reconstruct(zoo.load("cifar10-conv-64"), images)  # ready, as what the slider shows

    def draw() -> None:
        figure, axes = plt.subplots(1, 2, figsize=(8, 2))
        for axis, shown in zip(axes, (images, restored), strict=True):
            axis.imshow(im.tile(shown, columns=4).permute(1, 2, 0).numpy())
        figure.savefig(io.BytesIO(), format="png")
        plt.close(figure)

    return own, entropy.seconds(draw)


def _both_ways(codec: Codec, images: Tensor) -> dict[str, float]:
    streams = codec.encode(images)
    return {
        "encoding": entropy.seconds(lambda: codec.encode(images)),
        "decoding": entropy.seconds(lambda: codec.decode(streams, max_pixels=MAX_PIXELS)),
    }


def _by_size(runs: Mapping[int, dict[str, float]], of: str, size: str) -> list[dict[str, Any]]:
    """Return a row for each kind of work, from its seconds at each size."""
    found = []
    for kind in next(iter(runs.values())):
        seconds = {number: run[kind] for number, run in runs.items()}
        found.append({"work": f"{kind}, {of}", "size": size, "seconds": seconds, "slope": round(slope(seconds), 2)})
    return found


def growth(counts: tuple[int, ...] = COUNTS, sides: tuple[int, ...] = SIDES) -> list[dict[str, Any]]:
    """Return how training, encoding and decoding grow with the number of images, with pixels and with K."""
    test, rows = data.load("cifar10", "test").images, []
    settings = train.Settings(epochs=1, batch_size=64)
    own = zoo.load_codec("cifar10-conv-64")
    trained = zoo.load_learned("cifar10", 4)
    for label, codec in (("autoencoder", own), ("learned codec", trained), ("JPEG", codecs.Jpeg(5))):
        rows += _by_size({count: _both_ways(codec, test[:count]) for count in counts}, label, "images")
    training_ = {
        n: {"training": entropy.seconds(lambda n=n: training.own("cifar10-conv-64", test[:n], settings))}
        for n in counts
    }
    rows += _by_size(training_, "autoencoder", "images")
    whole = im.tile(test[:1024], columns=32)[None]  # 1024x1024 pixels
    for label, picture_codec in (("learned codec", trained), ("JPEG", codecs.Jpeg(5))):
        runs = {side**2: _both_ways(picture_codec, whole[:, :, :side, :side]) for side in sides}
        rows += _by_size(runs, label, "pixels")
    for label, architecture, count in (("autoencoder", "conv", counts[-1]), ("residual", "residual", counts[1])):
        names = {size: f"cifar10-{architecture}-{size}" for size in zoo.sizes("cifar10", architecture)}
        runs = {size: _both_ways(zoo.load_codec(name), test[:count]) for size, name in names.items()}
        rows += _by_size(runs, label, "K")
        training_ = {
            size: {"training": entropy.seconds(lambda name=name, n=count: training.own(name, test[:n], settings))}
            for size, name in names.items()
        }
        rows += _by_size(training_, label, "K")
    return rows
