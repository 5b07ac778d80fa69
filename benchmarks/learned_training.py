"""How the learned codecs were trained, all runs of each: ``python benchmarks/learned_training.py``.

Recipes and logs come from the weight cards. Checkpoints named on the command line are those of further runs, which
were not adopted; what was stored of others stays.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import record
import torch

from aelib import learned, plots, storage, zoo

RESULTS = Path(__file__).parent.parent / "results" / "learned_training.json"
FIGURE = RESULTS.parent / "figures" / "learned_training.png"
LOOK = 2  # which of the qualities that are looked at is drawn


def runs(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs that led to a card's weights, the first one first: recipe, prices, hardware, seconds, history."""
    found = [{**card, "settings": card["recipe"], "low": card["design"]["low"], "high": card["design"]["high"]}]
    while (earlier := found[-1].get("began_with") or found[-1]["settings"].get("began_with")) is not None:
        found.append({"low": found[-1]["low"], "high": found[-1]["high"], **earlier})
    for run in found:
        run["settings"] = {key: value for key, value in run["settings"].items() if key != "began_with"}
    keys = ("settings", "low", "high", "hardware", "remark", "seconds", "history")
    return [{key: run[key] for key in keys if key in run} for run in reversed(found)]


def attempt(file: Path) -> dict[str, Any]:
    """Return the run of a checkpoint."""
    stored = torch.load(file, map_location="cpu", weights_only=True)
    prices = {key: stored["design"][key] for key in ("low", "high")}
    return {"settings": stored["settings"], **prices, "history": stored["history"]}


def cost(run: dict[str, Any]) -> list[float]:
    """Return bits per pixel + lambda * 255**2 * MSE at each look over that at the last one."""
    design = learned.Design(low=run["low"], high=run["high"])
    quality = run["settings"].get("qualities", [0.0, 2.0, 4.0, 7.0])[LOOK]
    price = 255**2 * float(design.price(torch.tensor(quality)))
    found = [look["bits_per_pixel"][LOOK] + price * 10 ** (-look["mean_psnr"][LOOK] / 10) for look in run["history"]]
    return [value / found[-1] for value in found]


def main() -> None:
    """Write runs and figure."""
    earlier = json.loads(RESULTS.read_text(encoding="utf-8"))["attempts"] if RESULTS.exists() else []
    attempts = [attempt(Path(name)) for name in sys.argv[1:]]
    content = {
        "images": 2000,  # of the validation split
        "runs": {dataset: runs(zoo.learned_card(dataset)) for dataset in learned.DESIGNS},
        "attempts": earlier + [one for one in attempts if one not in earlier],
    }
    _, axes = plt.subplots(1, len(content["runs"]), figsize=(12, 3.6), layout="constrained")
    for axis, (dataset, chain) in zip(axes, content["runs"].items(), strict=True):
        for number, run in enumerate(chain, 1):
            label = f"run {number}, {run['hardware'].split(',')[0]}"
            axis.plot([look["seconds"] / 60 for look in run["history"]], cost(run), marker=".", label=label)
        axis.set(
            xscale="log", xlabel="minutes of each run", ylabel="cost at quality 4 (last look = 1)", ylim=(0.98, 1.2)
        )
        axis.set_title(f"{dataset}, 2,000 validation images")
        axis.legend()
    storage.write_whole(FIGURE, plots.to_png(axes[0]))
    record.write(RESULTS, ("aelib", "torch"), content)


if __name__ == "__main__":
    main()
