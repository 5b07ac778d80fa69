"""Images a second of `aelib.train.fit` beside a plain Dataset and DataLoader loop, a part of ``make bench``.

The plain loop is what most tutorials write: a torchvision-like Dataset that turns one array after the other into a PIL
picture and a tensor, a DataLoader that shuffles and stacks them, and the same network, loss, optimiser and batch size,
without channels last, and without the moving average and the mirroring that `fit` adds for the residual network. The
floor is what the network's arithmetic takes: forward and backward over a batch that lies ready, and nothing else. All
take turns in one process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import record
import torch
from PIL import Image
from record import Row
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from aelib import data, models, recipes, train
from aelib import images as im
from aelib.losses import LOSSES

RESULTS = Path(__file__).parent.parent / "results" / "bench_gpu.json"
PACKAGES = ("aelib", "torch", "torchvision", "numpy", "pillow")
NAMES = {"cifar10-conv-64": 10_000, "cifar10-residual-64": 2_000}  # and how many images are trained on in a round
WORKERS = (0, 2) if (os.cpu_count() or 2) < 8 else (0, 2, 8)  # processes that load data; the fastest choice counts


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
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
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
    """Return the seconds that one epoch of `fit` takes; hardly any is validation. On a GPU the first one prepares."""
    _, architecture, size = name.split("-")
    settings = replace(settings, epochs=2 if train.pick_device().type == "cuda" else 1)
    return train.fit(models.build(architecture, int(size)), images, images[:10], settings)[-1].seconds


def measure(name: str, count: int, rounds: int) -> dict[str, float]:
    """Return images a second of each way, medians over rounds in which they take turns."""
    images = data.load("cifar10", "train").images
    count = min(10_000 if train.pick_device().type == "cuda" else count, len(images))
    settings = replace(recipes.recipe(name), epochs=1, bfloat16=False)
    loaders = {f"loader, {workers} workers": workers for workers in WORKERS}
    rough = ("fit, bfloat16", "floor, bfloat16") if train.computes_bfloat16(train.pick_device()) else ()
    seconds: dict[str, list[float]] = {way: [] for way in ("fit", "floor", *rough, *loaders)}
    if train.pick_device().type == "cuda":  # choosing kernels takes seconds, once
        plain(name, images[:count], settings, 0)
        floor(name, images[:count], settings)
    for _ in range(rounds):
        seconds["fit"].append(own(name, images[:count], settings))
        seconds["floor"].append(floor(name, images[:count], settings))
        if rough:
            seconds["fit, bfloat16"].append(own(name, images[:count], replace(settings, bfloat16=True)))
            seconds["floor, bfloat16"].append(floor(name, images[:count], settings, bfloat16=True))
        for way, workers in loaders.items():
            seconds[way].append(plain(name, images[:count], settings, workers))
    speed = {way: count / median(found) for way, found in seconds.items()}
    return speed


def rows(small: bool = False) -> Iterator[Row]:
    """Compare `fit` with a plain loop and with its arithmetic alone."""
    for name, count in NAMES.items():
        speeds = measure(name, 256 if small else count, 1 if small else 3)
        loader = max((way for way in speeds if way.startswith("loader")), key=lambda way: speeds[way])
        peers = {loader: f"Dataset, {loader.replace('loader', 'DataLoader')}", "floor": "its arithmetic alone"}
        for way, peer in peers.items():
            yield Row.of("training", name, "images/s", speeds["fit"], peer, speeds[way])
        if "fit, bfloat16" not in speeds:
            continue
        rough, peer = speeds["fit, bfloat16"], f"{peers[loader]}, in float32"
        yield Row.of("training", f"{name}, in bfloat16", "images/s", rough, peer, speeds[loader])
        half, whole = speeds["floor, bfloat16"], speeds["floor"]
        yield Row.of("training", f"{name}, arithmetic in bfloat16", "images/s", half, "in float32", whole)


def main() -> None:
    """Measure on a GPU, print and write."""
    if not torch.cuda.is_available():
        raise SystemExit("expected a GPU; without one make bench measures training too")
    found = []
    for row in rows():
        found.append(asdict(row))
        print(row, flush=True)
    record.write(RESULTS, PACKAGES, {"rows": found}, where=torch.cuda.get_device_name())


if __name__ == "__main__":
    main()
