"""Images a second of `aelib.train.fit` beside a plain Dataset and DataLoader loop, a part of ``make bench``.

The plain loop is what most tutorials write: a torchvision-like Dataset that turns one array after the other into a PIL
picture and a tensor, a DataLoader that shuffles and stacks them, and the same network, loss, optimiser and batch size,
without channels last, and without the moving average and the mirroring that `fit` adds for the residual network. The
floor is what the network's arithmetic takes: forward and backward over a batch that lies ready, and nothing else. All
take turns in one process.
"""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from aelib import data, models, pretrain, train
from aelib import images as im
from aelib.losses import LOSSES

NAMES = {"cifar10-conv-64": 10_000, "cifar10-residual-64": 2_000}  # and how many images are trained on in a round
WORKERS = (0, 2)  # processes that load data; the faster choice counts


class Pictures(Dataset[Tensor]):
    """Images one at a time, as `torchvision.datasets.CIFAR10` with `ToTensor` gives them."""

    def __init__(self, images: Tensor) -> None:
        self.arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = ToTensor()

    def __len__(self) -> int:
        """Return N."""
        return len(self.arrays)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image, float, (C, H, W)."""
        picture: Tensor = self.transform(Image.fromarray(self.arrays[index]))
        return picture


def plain(name: str, images: Tensor, settings: train.Settings, workers: int) -> float:
    """Return the seconds that one epoch of the plain loop takes."""
    _, architecture, size = name.split("-")
    model = models.build(architecture, int(size)).to(train.pick_device()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    loader = DataLoader(Pictures(images), settings.batch_size, shuffle=True, num_workers=workers)
    start = time.perf_counter()
    for batch in loader:
        x = batch.to(train.pick_device())
        loss = LOSSES[settings.loss](model.logits(x), x, model.squash)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    float(loss.detach())  # waits for the device
    return time.perf_counter() - start


def floor(name: str, images: Tensor, settings: train.Settings, *, bfloat16: bool = False) -> float:
    """Return the seconds that forward and backward over as many batches take, all of them of the same images."""
    _, architecture, size = name.split("-")
    model = models.build(architecture, int(size)).to(train.pick_device()).to(memory_format=torch.channels_last).train()
    batch = images[: settings.batch_size].to(train.pick_device())
    x = im.to_float(batch).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    for _ in range(-(-len(images) // settings.batch_size)):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            raw = model.decoder(model.encoder(x))
        loss = LOSSES[settings.loss](raw.float(), x, model.squash)
        model.zero_grad()
        loss.backward()
    float(loss.detach())
    return time.perf_counter() - start


def own(name: str, images: Tensor, settings: train.Settings) -> float:
    """Return the seconds that one epoch of `fit` takes; hardly any is validation."""
    _, architecture, size = name.split("-")
    (epoch,) = train.fit(models.build(architecture, int(size)), images, images[:10], settings)
    return epoch.seconds


def measure(name: str, count: int, rounds: int) -> dict[str, float]:
    """Return images a second of each way, medians over rounds in which they take turns."""
    images = data.load("cifar10", "train").images
    count = min(count, len(images))
    settings = replace(pretrain.recipe(name), epochs=1)
    loaders = {f"loader, {workers} workers": workers for workers in WORKERS}
    seconds: dict[str, list[float]] = {
        way: [] for way in ("fit", "fit, bfloat16", "floor", "floor, bfloat16", *loaders)
    }
    for _ in range(rounds):
        seconds["fit"].append(own(name, images[:count], settings))
        seconds["fit, bfloat16"].append(own(name, images[:count], replace(settings, bfloat16=True)))
        seconds["floor"].append(floor(name, images[:count], settings))
        seconds["floor, bfloat16"].append(floor(name, images[:count], settings, bfloat16=True))
        for way, workers in loaders.items():
            seconds[way].append(plain(name, images[:count], settings, workers))
    speed = {way: count / median(found) for way, found in seconds.items()}
    return speed
