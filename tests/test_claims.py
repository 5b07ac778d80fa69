"""Figures in README.md: tables are drawn from JSON alone, and what the prose says is computed here."""

import ast
import re
from pathlib import Path

import pytest
import torch

from aelib import models, zoo

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
SHOWN = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+", re.DOTALL)  # code, links
NAMES = ("CIFAR-10", "JPEG 2000", "Notebook 06")  # names, no figures
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?: million| times|(?= dB| %|\s*bpp| ms\b| seconds| minutes))?")


def by_hand(text):
    """What was written by hand: no block that `make readme` draws, no code, no links, no names."""
    text = SHOWN.sub("", BLOCK.sub("", text))
    for name in NAMES:
        text = text.replace(name, "")
    return text


def measured(text):
    """The figures in a text that somebody must have measured: with a fraction, or a word that says of what."""
    return [found for found in FIGURE.findall(text) if "." in found or " " in found]


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


CLAIMS = {
    "1.6 times": dense_over_conv,
    "1.8 million": lambda: sum(value.numel() for value in residual(256).parameters()) / 1e6,
    "55 million": lambda: multiplications(residual(256)) / 1e6,
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_figure_in_the_prose_is_what_the_code_gives(claim):
    assert claim in README
    number, _ = claim.split()
    digits = len(number.partition(".")[2])
    assert round(CLAIMS[claim](), digits) == float(number)


def test_every_measured_figure_in_the_prose_is_asserted():
    version = {"3.11"}  # of Python
    assert set(measured(by_hand(README))) - version <= set(CLAIMS)
