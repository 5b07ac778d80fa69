"""Figures in README.md: tables are drawn from JSON alone, and what the prose says is computed here."""

import ast
import json
import re
from pathlib import Path

import entropy
import ladder
import pytest
import readme
import targets
import torch

from aelib import benchmark, curves, data, models, tables, zoo

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
SHOWN = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+", re.DOTALL)  # code, links
NAMES = ("CIFAR-10", "JPEG 2000", "Notebook 06")  # names, no figures
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
UNITS = "million|times|dB|%|bpp|bytes?|nats|ms|seconds?|minutes?|hours?|epochs?|images"
FIGURE = re.compile(rf"(?<![\w.]){NUMBER}(?:(?:\s+to\s+{NUMBER})?\s*(?:{UNITS})(?!\w))?")


def by_hand(text):
    """What was written by hand: no block that `make readme` draws, no code, no links, no names."""
    text = SHOWN.sub("", BLOCK.sub("", text))
    for name in NAMES:
        text = text.replace(name, "")
    return text


def measured(text):
    """The figures in a text that somebody must have measured or set: with a fraction, or a unit."""
    found = (" ".join(figure.split()) for figure in FIGURE.findall(text))
    return [figure for figure in found if "." in figure or not figure[-1].isdigit()]


@pytest.mark.parametrize(
    "figure",
    ["3 dB", "30 %", "45 ms", "20 minutes", "1,234 bytes", "2.5 bpp", "24.1", "22 to 36 dB", "0.8 to 1.5 %", "90%"],
)
def test_a_measured_figure_is_found(figure):
    assert measured(f"It takes {figure} here, on 2 cores.") == [figure]
    assert measured(f"It takes {figure}.".replace(" ", "\n")) == [figure]


def test_names_and_counts_are_no_measured_figures():
    assert measured("K = 16 in 32x32 blocks, 4:4:4, quality 3 of 2 dBase files") == []


README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_figures(text):
    return [line for line in by_hand(text).splitlines() if line.startswith("|") and re.search(r"(?<!\w)\d", line)]


def test_no_table_holds_a_number_written_by_hand():
    """All others stand in blocks that test_readme.py compares with what is drawn from results and cards."""
    assert table_figures(README) == []


def test_a_number_written_by_hand_is_found():
    assert table_figures(README + "\n| WebP | 31.4 |\n") == ["| WebP | 31.4 |"]


DRAWING = ("benchmarks/readme.py", "benchmarks/bench_tables.py", "benchmarks/targets.py", "aelib/tables.py")


@pytest.mark.parametrize("file", DRAWING)
def test_what_draws_the_tables_has_no_figures_of_its_own(file):
    """Else a table could be drawn from its own code."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    documentation = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if hasattr(node, "body") and isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
    }
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert [text for text in texts - documentation if re.search(r"\d[.]\d|\d ?%|\d dB|\d bpp", text)] == []
    numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is float}
    assert numbers - SETTINGS == set()


# What the drawing code may say itself: the end of a scale, where curves are compared, a tie, units, inches of a figure.
SETTINGS = {0.0, 0.02, 1.0, 4.2, 22.0, 30.0, 36.0, 99.0, 1e6}


def test_goals_and_figures_of_others_say_where_they_are_from():
    published = json.loads((ROOT / "results" / "published.json").read_text(encoding="utf-8"))
    curves = tables.read_published(ROOT / "results" / "published.json")
    assert all(published["curves"][name]["source"] for name in curves)
    assert all(points == sorted(points) and len(points) > 4 for points in curves.values())
    assert published["ladder"]["source"]
    assert published["ladder"]["name"] in tables.QUOTED
    assert published["ladder"]["mean_psnr"].keys() == published["ladder"]["pooled_psnr"].keys()


# --- prose


def parameters(name):
    return zoo.card(name).parameters


def dense_over_conv():
    """The largest ratio of parameters on CIFAR-10."""
    sizes = zoo.sizes("cifar10", "dense")
    return max(parameters(f"cifar10-dense-{size}") / parameters(f"cifar10-conv-{size}") for size in sizes)


def residual(size):
    return models.build("residual", size)


def multiplications(model):
    """Multiply-accumulates that one image takes through encoder and decoder."""
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        places = output[0].numel()
        if isinstance(module, torch.nn.Linear):
            total += places * module.in_features
        elif isinstance(module, torch.nn.ConvTranspose2d):
            total += _inputs[0][0].numel() * module.weight[0].numel()
        elif isinstance(module, torch.nn.Conv2d):
            total += places * module.weight[0].numel()

    for module in model.modules():
        module.register_forward_hook(count)
    model.eval()(torch.zeros(1, model.channels, model.size, model.size))
    return total


def weakest_jpeg2000():
    """The lowest decibels that JPEG 2000 was asked for."""
    points, _ = benchmark.read(ROOT / "results" / "cifar10-jpeg2000.json")
    return min(float(measured(point.codec)[0].split()[0]) for point in points)


def bytes_up_to_which_a_bottleneck_wins():
    """Whole bytes of a digit, below the rate at which the learned codec passes the autoencoders."""
    results = benchmark.read_folder(ROOT / "results", "mnist")
    hulls = benchmark.hulls(results)
    return int(curves.passed_at(hulls["autoencoder"], hulls["learned codec"]) * results["learned"][0].height ** 2 / 8)


def epochs_of_the_published_ladder():
    """The epochs that its source names."""
    (found,) = re.findall(r"(\d+) epochs", ladder.PUBLISHED["source"])
    return int(found)


CLAIMS = {
    "1.6 times": dense_over_conv,
    "1.8 million": lambda: sum(value.numel() for value in residual(256).parameters()) / 1e6,
    "55 million": lambda: multiplications(residual(256)) / 1e6,
    "500 epochs": epochs_of_the_published_ladder,
    "16 dB": weakest_jpeg2000,
    "22 to 36 dB": lambda: (targets.LOW, targets.HIGH),
    "24 bytes": bytes_up_to_which_a_bottleneck_wins,
    "1,000 images": lambda: entropy.PEER_IMAGES,
    "5,000 images": lambda: data.VALIDATION_SIZE,
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_figure_in_the_prose_is_what_the_code_gives(claim):
    assert claim in " ".join(README.split())
    numbers = re.findall(NUMBER, claim)
    values = CLAIMS[claim]() if len(numbers) > 1 else (CLAIMS[claim](),)
    for number, value in zip(numbers, values, strict=True):
        digits = len(number.partition(".")[2])
        assert round(value, digits) == float(number.replace(",", ""))


def test_intervals_are_the_same_wherever_they_are_set():
    assert readme.INTERVALS["cifar10"] == (targets.LOW, targets.HIGH)


def test_every_measured_figure_in_the_prose_is_asserted():
    version = {"3.11"}  # of Python
    assert set(measured(by_hand(README))) - version == set(CLAIMS)
