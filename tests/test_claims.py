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
import tornado.websocket

from aelib import __main__ as command
from aelib import benchmark, codecs, curves, data, learned, models, prior, recipes, tables, zoo
from aelib import entropy as coder

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- ([\w-]+):begin -->.*?<!-- \1:end -->", re.DOTALL)
SHOWN = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|https?://\S+", re.DOTALL)  # code, links
NAMES = ("CIFAR-10", "JPEG 2000", "Notebook 06")  # names, no figures
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
UNITS = "million|times|dB|%|bpp|bytes?|nats|bits|pixels|[kMG]i?B|ms|seconds?|minutes?|hours?|epochs?|images"
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


DRAWING = (
    "benchmarks/readme.py",
    "benchmarks/bench_tables.py",
    "benchmarks/targets.py",
    "benchmarks/robustness.py",
    "aelib/tables.py",
)


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
    "10 MiB": lambda: tornado.websocket._default_max_message_size / 2**20,
    "128 MiB": lambda: int(re.findall(r"websocket_max_message_size': (\d+)", README)[0]) / 2**20,
    "512 pixels": lambda: command._PIXELS_A_BYTE,
    "32 bits": lambda: coder._ESCAPE_BITS,
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


# --- sentences whose numbers have no unit, or stand in words


def points(series):
    return benchmark.read(ROOT / "results" / f"{series}.json")[0]


def lowest_setting(codec):
    """The lowest quality among the settings of a codec."""
    return min(
        int(point.codec.rpartition("q")[2])
        for file in (ROOT / "results").glob(f"*-{codec}*.json")
        if not file.stem.partition("-")[2].startswith(("jpeg2000", "jpegxl"))
        for point in benchmark.read(file)[0]
    )


def is_ahead(first, second):
    """Whether at every measured rate of a hull, if the other reaches it, its quality is higher."""
    values = [(psnr, other) for rate, psnr in first if (other := curves.psnr_at(second, rate)) is not None]
    return bool(values) and all(own > other for own, other in values)


def ahead_of_formats():
    """On CIFAR-10, in each accounting."""
    for accounting in benchmark.ACCOUNTINGS:
        hulls = benchmark.hulls(benchmark.read_folder(ROOT / "results", "cifar10"), accounting)
        formats = [hull for name, hull in hulls.items() if not name.startswith(("learned", "autoencoder"))]
        yield len(formats) == 5
        yield from (is_ahead(hulls["learned codec"], hull) for hull in formats)


def beside_published():
    """Four codecs; on average behind ours, Minnen et al.'s by a hair; Cheng et al.'s ahead at high rates."""
    own = benchmark.hulls(benchmark.read_folder(ROOT / "results", "cifar10"), "shared")["learned codec"]
    others = tables.read_published(ROOT / "results" / "published.json")
    deltas = {
        name.split()[0]: curves.bjontegaard_delta(hull, own, low=targets.LOW, high=targets.HIGH).rate
        for name, hull in others.items()
    }
    cheng = others["Cheng 2020 (published)"]
    rate, psnr = cheng[-1]
    return [len(others) == 4, max(deltas.values()) < 0, deltas["Minnen"] > -3, psnr > curves.psnr_at(own, rate)]


def qualities():
    """At how many qualities each kind of autoencoder was measured."""
    expected = {"conv": 8, "dense": 8, "residual": 4, "ordered": 4}
    for dataset in data.CLASSES:
        for name in zoo.names(dataset):
            yield len(points(name)) == expected[zoo.card(name).architecture]


SAID = {
    "carries eight bytes of header": lambda: [codecs.header.SIZE == 8],
    "one stream with eight bytes of header": lambda: [codecs.learned.header.SIZE == 8],
    "Pictures of 1x1 to 4096x4096 pixels": lambda: [codecs.MAX_SIDE == 4096],
    "more than 64x64 pixels in lanes of that size": lambda: [
        (codecs.lanes.PLACES * learned.DESIGNS["cifar10"].stride ** 2) == 64**2
    ],
    "takes 512 pixels more for each byte of the stream": lambda: [command._PIXELS_A_BYTE == 512],
    "a quality from 0 to 7": lambda: [prior.LEVELS == 8],
    "its smallest streams are three bytes on average": lambda: [
        round(min(point.rate_shared.mean * point.height * point.width / 8 for point in points("mnist-learned"))) == 3
    ],
    "conv and dense at eight qualities, residual and ordered ones at four": qualities,
    "the learned codec of the next section at nine qualities": lambda: [
        len(points(f"{dataset}-learned")) == 9 for dataset in data.CLASSES
    ],
    "JPEG from quality 3, AVIF from 1": lambda: [lowest_setting("jpeg") == 3, lowest_setting("avif") == 1],
    "it is ahead of every classical codec at every rate it has": ahead_of_formats,
    "ahead of four published learned codecs on average, of Minnen et al.'s by a hair, and Cheng et al.'s is ahead of "
    "it at high rates": beside_published,
    "from a file of two million images": lambda: [
        "(2_000_000, 3, 32, 32)" in (ROOT / "tests" / "test_mapped.py").read_text(encoding="utf-8")
    ],
    "and 128 MiB as `make lab`": lambda: [
        f"'websocket_max_message_size': {128 << 20}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    ],
    "Three efforts of the encoder": lambda: [len(codecs.EFFORTS) == 3],
    "The long recipe of K = 128 and 256": lambda: [
        {name for name, changes in recipes.OTHERWISE.items() if "residual" in name and changes.get("bfloat16")}
        == {"cifar10-residual-128", "cifar10-residual-256"}
    ],
}


@pytest.mark.parametrize("sentence", SAID)
def test_a_sentence_with_numbers_is_true(sentence):
    assert sentence in " ".join(README.split())
    assert all(found := list(SAID[sentence]()))
    assert found
