"""Train the learned codec: ``python -m aelib.train_codec cifar10``; started again, it goes on where it was stopped."""

from __future__ import annotations

import argparse
import math
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aelib import checkpoints, codecs, data, distributed, learned, storage, train, train_rate, zoo
from aelib.arguments import positive_int
from aelib.train_rate import Settings

START_IMAGES = 10_000
_SEEDS = 1_000_000  # below which seed and step make seeds that all generators take
RECIPES = {"cifar10": (58_000, 512), "mnist": (12_000, 512)}  # steps, and images in each


def make(
    dataset: str,
    settings: Settings,
    *,
    runs: Path,
    folder: Path,
    source: str | None = None,
    device: str | None = None,
    every: int = 1000,
    minutes: float = math.inf,
    begin: Path | None = None,
) -> codecs.Learned | None:
    """Train the codec of a data set and write its weights and card; None if `minutes` did not suffice.

    Of several processes, see `aelib.train_rate.fit`, the first one writes.

    Parameters
    ----------
    dataset : {"cifar10", "mnist"}
    settings : Settings
    runs : Path
        Keeps the checkpoint ``DATASET-learned.pt``, from which a stopped run goes on.
    folder : Path
        Receives ``DATASET-learned.safetensors`` and ``DATASET-learned.json``.
    source, device, every, minutes
        As in `aelib.data.load` and `aelib.train_rate.fit`.
    begin : Path, optional
        A checkpoint of another run, whose averaged weights this one begins with; its quality levels are mixed anew if
        its prices were others.

    Raises
    ------
    ConnectionError
        Only the bundled sample is at hand and `source` does not ask for it.
    ValueError
        `begin` is no checkpoint, or one of other networks; a stopped run began otherwise.
    """
    full = data.load(dataset, "train", source=source)
    if full.source == "sample" and source != "sample":
        raise ConnectionError(f"expected the full {dataset} data set to train on, got the bundled sample")
    if (crew := distributed.launched()).first:
        storage.check_writable(folder)
    training, validation = full.split()
    torch.manual_seed(settings.seed)
    model = learned.Model(learned.DESIGNS[dataset])
    other, earlier = _read(begin, model.design) if begin else (None, None)
    try:
        model.start(training.images[:START_IMAGES], seed=settings.seed, other=other)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"expected weights of {model.design} in {begin}, got {error}") from error
    history = train_rate.fit(
        model,
        training.images,
        validation.images,
        settings,
        device=device,
        checkpoint=runs / f"{dataset}-learned.pt",
        every=every,
        minutes=minutes,
        progress=lambda look: print(f"{dataset}-learned  {look}", flush=True),
        began_with=checkpoints.digest(torch.cat([value.flatten() for value in other.values()])) if other else "",
    )
    if history is None:
        return None
    trained_on = next(model.parameters()).device
    codec = codecs.Learned.of(model.cpu(), training.images[:500])
    if not crew.first:
        return codec
    facts = {
        "name": f"{dataset}-learned",
        "dataset": dataset,
        "design": learned.fields(model.design),
        "parameters": sum(value.numel() for value in model.parameters()),
        "recipe": {
            **asdict(settings),
            "batch_size": settings.batch_size * crew.count,
            "bfloat16": settings.bfloat16 and train.computes_bfloat16(trained_on),
            "qualities": train_rate.QUALITIES,
            "began_with": earlier,
        },
        "history": [asdict(look) for look in history],
        "data_sha256": data.SHA256[dataset] if full.source != "sample" else {},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}},
        "hardware": train.hardware(trained_on, crew),
        "seconds": round(history[-1].seconds, 1),
    }
    zoo.save_learned(codec, facts, folder=folder)
    return codec


def _read(checkpoint: Path, wanted: learned.Design) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the averaged weights of another run at the prices of a design, and what run it was."""
    try:
        stored = checkpoints.read(checkpoint, torch.device("cpu"))
        last, had = stored["history"][-1], learned.design(stored["design"])
        run = {"step": last["step"], "seconds": round(last["seconds"], 1), "settings": stored["settings"]}
        prices = {"low": had.low, "high": had.high}
        same = prices == {"low": wanted.low, "high": wanted.high}
        state = stored["average"] if same else learned.repriced(stored["average"], had, wanted)
        return state, {**run, **({} if same else prices), "history": stored["history"]}
    except Exception as error:  # as in aelib.checkpoints
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more'}"[:200]
        raise ValueError(f"expected a checkpoint of aelib.train_codec in {checkpoint}, got {said}") from error


def main(arguments: list[str] | None = None) -> int:
    """Train the codec named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m aelib.train_codec", description=__doc__)
    parser.add_argument("dataset", choices=list(learned.DESIGNS))
    parser.add_argument("--steps", type=positive_int, help=f"and the number of images in each by default: {RECIPES}")
    parser.add_argument("--batch", type=positive_int, help="images a step, in each process")
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate, help="its peak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="compute the transforms in it; where the device can")
    parser.add_argument("--device", help="cpu, cuda, ...; the best there is by default")
    parser.add_argument(
        "--every", type=positive_int, default=1000, help="steps from one progress line and checkpoint to the next"
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these, to go on another time")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the checkpoint")
    parser.add_argument("--folder", type=Path, default=zoo.WEIGHTS, help="folder that receives weights and card")
    parser.add_argument("--begin", type=Path, help="begin with the weights of this checkpoint of another run")
    parser.add_argument("--source", choices=data.SOURCES, help="take the data from this source alone")
    given = parser.parse_args(arguments)
    steps, batch = RECIPES[given.dataset]
    steps, batch = given.steps or steps, given.batch or batch
    if not 0 < given.learning_rate < math.inf:
        parser.error(f"--learning-rate wants a number above 0, got {given.learning_rate}")
    if not given.minutes >= 0:
        parser.error(f"--minutes wants a number of at least 0, got {given.minutes}")
    if not 0 <= given.seed < _SEEDS:
        parser.error(f"--seed wants a whole number from 0 to {_SEEDS - 1}, got {given.seed}")
    whole = batch * distributed.launched().count
    shipped = (steps, whole, given.learning_rate, given.seed) == (*RECIPES[given.dataset], Settings.learning_rate, 0)
    if (not shipped or given.source == "sample") and given.folder == zoo.WEIGHTS:
        parser.error(
            "other --steps, --batch, --learning-rate or --seed and --source sample are for trials: give a --folder, "
            "the default holds the shipped weights"
        )
    settings = Settings(
        steps=steps,
        batch_size=batch,
        learning_rate=given.learning_rate,
        seed=given.seed,
        flips=given.dataset == "cifar10",
        bfloat16=given.bfloat16,
    )
    places = {"runs": given.runs, "folder": given.folder, "source": given.source}
    try:
        codec = make(
            given.dataset,
            settings,
            **places,
            device=given.device,
            every=given.every,
            minutes=given.minutes,
            begin=given.begin,
        )
    except (OSError, ValueError, ArithmeticError, RuntimeError) as error:
        print(f"train_codec {given.dataset}: {error}", file=sys.stderr)
        return 1
    if codec is None:
        print("stopped before the end; run the command again to go on")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
