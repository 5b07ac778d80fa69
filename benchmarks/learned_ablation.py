"""What each part of the learned codec bought: ``python benchmarks/learned_ablation.py`` for ``learned_ablation.json``.

Real bytes of validation images of CIFAR-10, payload and one byte for the quality, as BD-rates against the shipped codec
at its default effort. Rows: the same transforms with a prior without conditions, fitted to them; the efforts; and from
the card, where rates are what the float prior expects, the last look before the steps with true rounding against the
last. And two small trainings from the start, alike but for the prior: a codec with a factorised prior, a Gaussian per
channel and quality, against one with the shipped conditional prior. A stopped training goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import record
import torch
from torch import Tensor

from aelib import benchmark, codecs, curves, data, exact, learned, prior, train_codec, train_rate, zoo
from aelib import images as im

RESULTS = Path(__file__).parent.parent / "results" / "learned_ablation.json"
QUALITIES = (1, 2, 3, 4, 5, 6)
IMAGES, FIT_IMAGES, FIT_STEPS = 200, 2000, 400
SMALL = train_rate.Settings(steps=2000, batch_size=64, average=0.999, bfloat16=True)
RUNS = RESULTS.parent.parent / "runs" / "learned_ablation"


def without_conditions(codec: codecs.Learned, images: Tensor) -> codecs.Learned:
    """Return the codec with a mean and a scale per channel and quality level, fitted to training images."""
    model, design = codec.model, codec.model.design
    plain = prior.Prior(design.groups, design.hidden)
    design = replace(design, halved=0)
    levels = torch.eye(prior.LEVELS)
    with torch.no_grad():
        x = im.to_float(images)
        parts = [model.analyse(x, shares.expand(len(x), -1)) for shares in levels]
        scales, means = (torch.stack([getattr(y, kind)(dim=(0, 2, 3)) for y in parts]) for kind in ("std", "mean"))
        plain.expect(scales)
        for bias, own in zip(plain.biases, torch.split(means / plain.units.exp2(), plain.groups, dim=1), strict=True):
            bias[:, : own.shape[1]] = own
    optimizer = torch.optim.Adam(plain.biases.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for step in range(FIT_STEPS):
        level = step % prior.LEVELS
        y = parts[level][torch.randint(len(x), (100,), generator=generator)]
        bits, _ = plain(y, levels[level].expand(len(y), -1), prior.noisy(generator))
        optimizer.zero_grad()
        bits.mean().backward()
        optimizer.step()
    rest = {name: value for name, value in codec.tensors().items() if not name.startswith("prior.")}
    return codecs.Learned.from_tensors({**rest, **exact.Integer.of(plain).tensors()}, design)


def trained(name: str, design: learned.Design, images: Tensor, validation: Tensor) -> codecs.Learned:
    """Return the codec of a small training from the start."""
    torch.manual_seed(SMALL.seed)
    model = learned.Model(design)
    model.start(images[: train_codec.START_IMAGES], seed=SMALL.seed)
    train_rate.fit(
        model,
        images,
        validation,
        SMALL,
        checkpoint=RUNS / f"{name}.pt",
        progress=lambda look: print(f"{name}  {look}", flush=True),
    )
    return codecs.Learned.of(model.cpu(), images[:500])


def priors(images: Tensor, validation: Tensor) -> list[dict[str, Any]]:
    """Return what a factorised prior costs where all is trained with it, and the curve that this is held against."""
    conditional = learned.DESIGNS["cifar10"]
    factorised = replace(conditional, groups=(conditional.latents,), halved=0)
    steps = f"trained for {SMALL.steps:,} steps of {SMALL.batch_size}"
    held = row(f"conditional prior, {steps}", trained("conditional", conditional, images, validation), validation, None)
    anchor = [tuple(pair) for pair in held["curve"]]
    codec = trained("factorised", factorised, images, validation)
    return [
        row(f"factorised prior, {steps}, against the same with the conditional one", codec, validation, anchor),
        held,
    ]


def fine_tuning(card: dict[str, Any]) -> dict[str, Any]:
    """Return how the last look before the steps with true rounding, and with the encoder at rest, compares."""
    recipe, last = card["recipe"], card["history"][-1]
    looks = [look for look in card["history"] if look["step"] <= recipe["steps"] * (1 - recipe["hard"])]
    first, end = (list(zip(one["bits_per_pixel"], one["mean_psnr"], strict=True)) for one in (looks[-1], last))
    delta = curves.bjontegaard_delta(end, first)
    label = f"at step {looks[-1]['step']:,} of {last['step']:,}, before true rounding (float prior)"
    return {"label": label, "curve": first, "bd_rate": bd_rate(delta)}


def bd_rate(delta: curves.Bjontegaard) -> dict[str, float]:
    """Return a BD-rate with the interval that it is a mean over."""
    return {"percent": delta.rate, "low_db": delta.low, "high_db": delta.high}


def row(label: str, codec: codecs.Learned, images: Tensor, anchor: list[tuple[float, float]] | None) -> dict[str, Any]:
    """Return the curve of a codec and its BD-rate against `anchor`."""
    start = time.perf_counter()
    points = [benchmark.measure(replace(codec, quality=float(quality)), images) for quality in QUALITIES]
    curve = benchmark.curve(points)
    found: dict[str, Any] = {"label": label, "curve": curve, "seconds": round(time.perf_counter() - start, 1)}
    if anchor:
        delta = curves.bjontegaard_delta(anchor, curve)
        found["bd_rate"] = bd_rate(delta)
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    training, validation = data.load("cifar10", "train").split()
    images, codec = validation.images[:IMAGES], zoo.load_learned("cifar10")
    factorised, held = priors(training.images, images)
    default = row("default", codec, images, None)
    anchor = [tuple(pair) for pair in default["curve"]]
    label = "prior without conditions, transforms kept that were trained with them"
    rows = [factorised, row(label, without_conditions(codec, training.images[:FIT_IMAGES]), images, anchor)]
    rows.append(fine_tuning(zoo.learned_card("cifar10")))
    rows.append(default)
    rows += [row(effort, replace(codec, effort=effort), images, anchor) for effort in codecs.EFFORTS[1:]]
    content = {
        "images": f"{IMAGES} of the validation split of CIFAR-10",
        "weights_sha256": zoo.learned_card("cifar10")["sha256"],
        "design": asdict(codec.model.design),
        "small": held,
        "rows": rows,
    }
    record.write(RESULTS, ("aelib", "torch", "numpy"), content)


if __name__ == "__main__":
    main()
