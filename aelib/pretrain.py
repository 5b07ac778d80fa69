"""Make the shipped weights: ``python -m aelib.pretrain``; started again, it goes on where it was stopped."""

from __future__ import annotations

import argparse
import platform
import sys
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aelib import (
    cards,
    checkpoints,
    data,
    distributed,
    latent,
    metrics,
    models,
    quantise,
    recipes,
    residual,
    storage,
    sweep,
    train,
    zoo,
)
from aelib.arguments import positive_int

START_IMAGES = 10_000
PREFIX_PROBES = 500  # images that choose the steps of each prefix: fewer than of a whole network, for there are many


def fresh(name: str, images: Tensor, *, seed: int, folder: Path) -> models.Autoencoder:
    """Return the network as its training begins.

    Parameters
    ----------
    name : str
        ``DATASET-ARCHITECTURE-K``.
    images : Tensor
        uint8, (N, C, H, W), training images.
    seed : int
    folder : Path
        Where the weights of its parent lie, if it has one.
    """
    dataset, architecture, latent_dim = recipes.parse(name)
    if (origin := recipes.parent(name)) is not None:
        made = (folder / f"{origin}.json").is_file()  # else it begins with the shipped ones
        return residual.shortened(zoo.load(origin, folder=folder if made else zoo.WEIGHTS), latent_dim)
    channels, size, _ = data.SHAPES[dataset]
    model = models.build(architecture, latent_dim, channels=channels, size=size, seed=seed)
    if isinstance(model, residual.ResidualAutoencoder):
        model.start(images[:START_IMAGES], seed=seed)
    return model


def make(
    name: str,
    settings: train.Settings,
    *,
    then: train.Settings | None = None,
    runs: Path,
    folder: Path,
    source: str | None = None,
) -> zoo.Card:
    """Train one model, measure it on the test set, and write its weights and card.

    Of several processes, see `aelib.train.fit`, the first one writes.

    Parameters
    ----------
    name : str
        ``DATASET-ARCHITECTURE-K``.
    settings : Settings
    then : Settings, optional
        Of a second training, which goes on from the network that the first one leaves.
    runs : Path
        Keeps the training checkpoints ``NAME.pt`` and ``NAME.then-*.pt``, from which a stopped run goes on.
    folder : Path
        Receives ``NAME.safetensors`` and ``NAME.json``.
    source : str, optional
        As in `aelib.data.load`.

    Raises
    ------
    ConnectionError
        Only the bundled sample is at hand and `source` does not ask for it.
    """
    dataset, architecture, latent_dim = recipes.parse(name)
    full, test = (data.load(dataset, part, source=source) for part in ("train", "test"))
    if (crew := distributed.launched()).first:
        storage.check_writable(folder)
    if full.source == "sample" and source != "sample":
        raise ConnectionError(f"expected the full {dataset} data set to train on, got the bundled sample")
    training, validation = full.split()
    channels, size, _ = data.SHAPES[dataset]
    model = fresh(name, training.images, seed=settings.seed, folder=folder)
    history: list[train.Epoch] = []
    say, file = partial(print, name, sep="  ", flush=True), runs / f"{name}.pt"
    for stage in filter(None, (settings, then)):
        history += train.fit(model, training.images, validation.images, stage, checkpoint=file, progress=say)
        reached = checkpoints.digest(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
        file = runs / f"{name}.then-{reached}.pt"  # what began with other weights is no checkpoint of this
    trained_on = next(model.parameters()).device
    machines = f"--nnodes {crew.count // crew.beside} " if crew.count > crew.beside else ""
    launcher = "python" if crew.alone else f"torchrun {machines}--nproc-per-node {crew.beside}"
    command = f"{launcher} -m aelib.pretrain {name}"
    trial = settings.epochs != recipes.recipe(name).epochs or bool(then) != bool(recipes.then(name))
    command += f" --epochs {settings.epochs}" if trial else ""
    command += "".join(f" --{key} {value}" for key, value in {"seed": settings.seed, "source": source}.items() if value)
    shipped = zoo.rounded(model)
    pca = latent.fit_image_pca(training.images, latent_dim)
    before_rounding = metrics.psnr(test.images, models.reconstruct(model, test.images)).mean()
    facts = zoo.Card(
        name=name,
        dataset=dataset,
        architecture=architecture,
        latent_dim=latent_dim,
        channels=channels,
        size=size,
        parameters=sum(p.numel() for p in model.parameters()),
        test={**quality(shipped, test), "mean_psnr_float32": round(float(before_rounding), 4)},
        pca_mean_psnr=mean_psnr(test, pca.reconstruct(test.images, latent_dim)),
        recipe={
            **told(settings, trained_on, crew),
            "start": recipes.parent(name) or "own",
            "command": command,
            **({"then": told(then, trained_on, crew)} if then else {}),
        },
        history={
            "train_loss": [epoch.train_loss for epoch in history],
            "validation_loss": [epoch.validation_loss for epoch in history],
        },
        data_sha256=data.SHA256[dataset] if full.source != "sample" else {},
        versions={
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "numpy", "scikit-learn")},
        },
        hardware=train.hardware(trained_on, crew),
        seconds=round(sum(epoch.seconds for epoch in history), 1),
        prefixes=prefixes(shipped, pca, test) if architecture == "ordered" else {},
    )
    if crew.first:
        cut = {
            int(length): residual.shortened(shipped, int(length), residual.OrderedAutoencoder)
            for length in facts.prefixes
        }
        shorter = {length: quantise.fit(one, training.images, probes=PREFIX_PROBES) for length, one in cut.items()}
        zoo.save(shipped, quantise.fit(shipped, training.images), facts, prefixes=shorter, folder=folder)
        print(f"{name}  test {facts.test['mean_psnr']:.2f} dB, PCA {facts.pca_mean_psnr:.2f} dB", flush=True)
    return facts


def told(settings: train.Settings, device: torch.device, crew: distributed.Crew) -> dict[str, Any]:
    """Return the settings as a card has them: what was done, of what was asked for."""
    return {
        **asdict(settings),
        "batch_size": settings.batch_size * crew.count,
        "bfloat16": settings.bfloat16 and train.computes_bfloat16(device),
    }


def mean_psnr(test: data.Dataset, restored: Tensor) -> float:
    """Return the mean PSNR in dB of restored test images as a card has it."""
    return round(float(metrics.psnr(test.images, restored).mean()), 4)


def prefixes(model: models.Autoencoder, pca: latent.ImagePca, test: data.Dataset) -> dict[str, cards.Prefix]:
    """Return a card's figures of the first latents of a model alone, at each size that has a dedicated network."""
    latents = models.codes(model, test.images)
    found = {}
    for length in [size for size in recipes.SIZES[f"{test.name}-residual"] if size < model.latent_dim]:
        restored = models.pictures(model, residual.prefix(latents, length))
        linear = pca.reconstruct(test.images, length)
        parameters = sum(p.numel() for p in residual.shortened(model, length).parameters())
        found[f"{length}"] = cards.Prefix(mean_psnr(test, restored), mean_psnr(test, linear), parameters, "")
    return found


def quality(model: models.Autoencoder, test: data.Dataset) -> dict[str, float]:
    """Return a card's figures of a model on test images."""
    restored = models.reconstruct(model, test.images)
    return {
        "images": len(test),
        "mse": round(float(metrics.mse(test.images, restored).mean()), 7),
        "mean_psnr": mean_psnr(test, restored),
        "pooled_psnr": round(metrics.pooled_psnr(test.images, restored), 4),
        "ssim": round(float(metrics.ssim(test.images, restored).mean()), 5),
    }


def main(arguments: list[str] | None = None) -> int:
    """Train the models named on the command line, or all that are shipped."""
    parser = argparse.ArgumentParser(prog="python -m aelib.pretrain", description=__doc__)
    parser.add_argument("names", nargs="*", help="DATASET-ARCHITECTURE-K; all shipped models by default")
    parser.add_argument("--epochs", type=positive_int, help="instead of the recipe's number, and no second training")
    parser.add_argument("--seed", type=int, default=0, help="another order of the images and another start")
    parser.add_argument(
        "--jobs", type=positive_int, help="processes at a time; by default one a GPU, or one a CPU core"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the training checkpoints")
    parser.add_argument("--folder", type=Path, default=zoo.WEIGHTS, help="folder that receives weights and cards")
    parser.add_argument("--source", choices=data.SOURCES, help="take the data from this source alone")
    given = parser.parse_args(arguments)
    names = given.names or recipes.all_names()
    try:
        for name in names:
            recipes.parse(name)
    except ValueError as error:
        parser.error(str(error))
    alone = distributed.launched().alone
    trial = given.epochs or given.seed or given.source == "sample" or not alone
    if trial and given.folder == zoo.WEIGHTS:
        parser.error(
            "--epochs, --seed, --source sample and several processes, whose batches add up, are for trials: "
            "give a --folder, the default holds the shipped weights"
        )
    if len(names) > 1:
        if not alone:
            parser.error("under a launcher, whose processes train one model together, name one")
        passed = ["--runs", str(given.runs), "--folder", str(given.folder)]
        passed += ["--epochs", str(given.epochs)] if given.epochs else []
        passed += ["--seed", str(given.seed)] if given.seed else []
        passed += ["--source", given.source] if given.source else []
        data_sets = {recipes.parse(name)[0] for name in names}
        for dataset in data_sets:
            data.load(dataset, "train", source=given.source)  # once, before the processes would race for it
        parents = {origin for name in names if (origin := recipes.parent(name)) is not None}
        rounds = [name for name in names if name in parents], [name for name in names if name not in parents]
        return int(any([sweep.run(some, passed, jobs=given.jobs) for some in rounds]))
    chosen = recipes.recipe(names[0])
    settings = replace(chosen, epochs=given.epochs or chosen.epochs, seed=given.seed)
    second = None if given.epochs else recipes.then(names[0])
    then = second and replace(second, seed=given.seed)
    try:
        make(names[0], settings, then=then, runs=given.runs, folder=given.folder, source=given.source)
    except (OSError, ValueError, ArithmeticError, RuntimeError) as error:
        print(f"pretrain {names[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
