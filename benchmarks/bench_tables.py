"""The tables of README.md that are drawn from ``results/bench.json``, and what the cards say of training."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from record import Row

from aelib import data, recipes, tables, zoo

RESULTS = Path(__file__).parent.parent / "results" / "bench.json"
GPU = RESULTS.with_name("bench_gpu.json")
ALONE = "notebook, shortened"  # rows of single notebooks, whose sum follows
SIZES = ("images", "pixels", "K")
PLACES = {"jupyterlab": "JupyterLab", "explorer.html": "`explorer.html`"}
SLIDER = RESULTS.with_name("slider.json")
NOTEBOOKS = RESULTS.with_name("notebooks.json")
FULL = 600  # seconds that all notebooks may take together
# How many times as fast as the plain loop `fit` was to train any network, in float32.
GOAL = json.loads(RESULTS.with_name("goals.json").read_text(encoding="utf-8"))["fit_over_loop"]


def read() -> dict[str, Any]:
    """Return what ``make bench`` wrote, and how long the notebooks took when they were last executed in full."""
    stored: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    full = json.loads(NOTEBOOKS.read_text(encoding="utf-8"))["seconds"]
    row = Row.of("notebooks, in full", "all, when last executed", "s", sum(full.values()), "limit of all", FULL)
    stored["rows"].append(asdict(row))
    return stored


def figure(value: float) -> str:
    """Return a number with three digits that count.

    >>> [figure(value) for value in (12345.6, 31.41, 0.012345)]
    ['12,346', '31.4', '0.0123']
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def peers(stored: dict[str, Any]) -> str:
    """Return each figure of ours beside that of a peer."""
    rows = [
        [
            f"{row['part']}: {row['what']}",
            f"{figure(row['own'])} {row['unit']}",
            f"{figure(row['theirs'])} {row['unit']}",
            row["peer"],
            figure(row["ratio"]),
        ]
        for row in stored["rows"]
        if row["part"] != ALONE
    ]
    before, after = stored["load"]
    note = (
        f"Measured in {stored['seconds'] / 60:.0f} minutes on {stored['hardware']}; processes that wanted to run, over "
        f"a minute: {before:.1f} at the start, {after:.1f} at the end."
    )
    left_out = "".join(f" Left out: {why}." for why in stored["left_out"])
    return tables.markdown(["what", "aelib", "peer", "which peer", "ratio"], rows) + "\n\n" + note + left_out


def training(stored: dict[str, Any]) -> str:
    """Return how fast `fit` trains and how long an epoch takes, on a GPU too if `make bench-gpu` has been run."""
    said = [_training(stored)]
    if GPU.is_file():
        said.append(_training(json.loads(GPU.read_text(encoding="utf-8")) | {"epoch_images": stored["epoch_images"]}))
    return " ".join(said)


def _training(stored: dict[str, Any]) -> str:
    """Return the same of one machine."""
    found = [
        f"{row['what']} {row['own']:,.0f} images a second, {stored['epoch_images'] / row['own']:.0f} s an epoch, "
        f"{row['ratio']:.2f} times as many as the plain loop"
        for row in stored["rows"]
        if row["part"] == "training" and row["peer"].startswith("Dataset")
    ]
    return f"On {stored['hardware']}: {'; '.join(found)}."


def goals(stored: dict[str, Any]) -> str:
    """Return whether `fit` and all notebooks are as fast as they were to be."""
    rows = [row for row in stored["rows"] if row["part"] == "training"]
    loops = {row["what"]: row["ratio"] for row in rows if row["peer"].startswith("Dataset")}
    floors = {row["what"]: row["ratio"] for row in rows if row["peer"] == "its arithmetic alone"}
    full = [
        f"{what} {loops[what]:.2f} times as fast, {'met' if loops[what] >= GOAL else 'short of it'}, where the "
        f"arithmetic alone would take {100 * share:.0f} % of the time"
        for what, share in floors.items()
    ]
    rough = [f"{what}, {ratio:.2f} times" for what, ratio in loops.items() if what not in floors]
    goal = f"`fit` was to train any network at least {GOAL:g} times as fast as the plain loop in float32"
    said = [f"{goal}: {'; '.join(full)}."]
    if rough:
        said.append(f"Against the same loop: {'; '.join(rough)}.")
    said += [
        f"Two processes reach {row['ratio']:.2f} times the speed of {row['peer']}: several are for several devices."
        for row in rows
        if row["what"].endswith("two processes")
    ]
    for row in stored["rows"]:
        if row["part"].startswith("notebooks"):
            which = f"{row['what'].partition(',')[0].capitalize()} notebooks {row['part'].partition(', ')[2]}"
            kept = "within" if row["own"] <= row["theirs"] else "over"
            said.append(f"{which} take {row['own']:.0f} s, {row['theirs']:.0f} s allowed: {kept} their limit.")
    if not GPU.is_file():
        said.append("On a GPU `fit` has not been measured beside the plain loop.")
    return " ".join(said)


def slider(stored: dict[str, Any]) -> str:
    """Return how soon the slider answers."""
    found = []
    for place, paces in stored["figures"]["key_to_picture"].items():
        named = PLACES.get(place, place)
        looking, hurried = paces["looking"], paces["at once"]
        found.append(
            f"in {named} {looking['median_ms']:.0f} ms in the median and {looking['worst_ms']:.0f} ms at worst of "
            f"{looking['count']} moves, {hurried['median_ms']:.0f} and {hurried['worst_ms']:.0f} ms where each key "
            "follows at once"
        )
    visit = stored["figures"]["kernel"]["first_visit"]
    return (
        f"From a key to a picture that was shown before it takes, on {stored['hardware']}: {'; '.join(found)}. In the "
        f"kernel the first visit of a model takes {visit['median_ms']:,.0f} ms in the median and "
        f"{visit['worst_ms']:,.0f} ms at worst of {visit['count']}, with {visit['worst_model']}."
    )


def growth(stored: dict[str, Any]) -> str:
    """Return the exponents with which costs grow."""
    found: dict[str, dict[str, float]] = {}
    for row in stored["slopes"]:
        found.setdefault(row["work"], {})[row["size"]] = row["slope"]
    rows = [[work, *(f"{row[size]:.2f}" if size in row else "-" for size in SIZES)] for work, row in found.items()]
    return tables.markdown(["seconds grow as a power of", *SIZES], rows)


def largest(stored: dict[str, Any]) -> str:
    """Return the three largest costs of each kind of work."""
    rows = [
        [work, *(f"`{cost['name']}` {cost['percent']:.0f} %" for cost in costs)]
        for work, costs in stored["largest_costs"].items()
    ]
    return tables.markdown(["work", "largest cost", "second", "third"], rows)


def seconds_of_all() -> dict[str, float]:
    """Return the seconds that training all bottleneck autoencoders took, as their cards say, and what follows.

    Those of a GPU are counted apart. The residual networks begin with the ordered ones, all others do not wait. A
    device of eight is taken to be as fast as what trained each, so that the longest chain is left: an extrapolation,
    no measurement.
    """
    cards = [zoo.card(name) for dataset in data.CLASSES for name in zoo.names(dataset)]
    threads = {card.name: re.search(r"(?:(\d+) x )?.* (\d+) thread", card.hardware) for card in cards}
    # A core's work, at two cores a device; of a GPU, what it took.
    took = {
        card.name: card.seconds * (int(found[1] or 1) * int(found[2]) / 2 if (found := threads[card.name]) else 1)
        for card in cards
    }
    waits = {name: took[start] for name in took if (start := recipes.parent(name)) is not None}
    return {
        "models": len(cards),
        "two_cores_seconds": sum(seconds for name, seconds in took.items() if threads[name]),
        "gpu_models": sum(found is None for found in threads.values()),
        "gpu_seconds": sum(seconds for name, seconds in took.items() if not threads[name]),
        "eight_devices_seconds": max(seconds + waits.get(name, 0) for name, seconds in took.items()),
    }


def ladder() -> str:
    """Return how long all bottleneck autoencoders take to train, and would take on eight devices."""
    found = seconds_of_all()
    hours, minutes = found["two_cores_seconds"] / 3600, found["eight_devices_seconds"] / 60
    gpu = f" and {found['gpu_seconds']:.0f} seconds of a GPU, which trained {found['gpu_models']} of them,"
    return (
        f"Training all {found['models']} bottleneck autoencoders took {hours:.1f} hours of two CPU cores"
        f"{gpu if found['gpu_models'] else ','} by the seconds in their cards, taken while other work went on; seconds "
        "of one core count half. Eight such pairs of cores, or GPUs, would be done after the longest chain, "
        f"{minutes:.0f} minutes, if no network waited but for the one that it begins with: extrapolated, not measured."
    )


def blocks() -> dict[str, str]:
    """Return all of them by the names of their places."""
    stored = read()
    return {
        "bench": peers(stored),
        "goals": goals(stored),
        "slider": slider(json.loads(SLIDER.read_text(encoding="utf-8"))),
        "growth": growth(stored),
        "training": training(stored),
        "costs": largest(stored),
        "whole-ladder": ladder(),
    }
