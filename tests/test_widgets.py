"""The slider on the kernel's side: every option of every control, and what a reader without a kernel sees."""

import ctypes
import gc
import html
import io
import itertools
import os
import random
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from aelib import data, recipes, views, widgets, zoo
from aelib.ladders import MIXED
from aelib.views import Choice

FAMILIES = [tuple(family.split("-")) for family in recipes.SIZES]


@pytest.fixture
def explorer():
    return widgets.BottleneckExplorer("cifar10", "conv", count=2)


def shown(explorer):
    return explorer.picture.value, explorer.caption.value, explorer.curve.value


def check(explorer, choice):
    """The screen shows this choice and nothing else."""
    assert explorer.choice == choice
    assert explorer.view == views.render(choice)
    assert all(html.escape(line) in explorer.caption.value for line in explorer.view.caption.split("\n"))
    assert f'alt="{explorer.view.title}: autoencoder, K = {choice.latent_dim}:' in explorer.picture.value
    assert explorer.picture.value.count("<img") == len(explorer.view.rows)
    here = "here {:.1f} bytes, {:.1f} dB".format(*views.coded(choice).point)
    assert here in explorer.curve.value


def test_every_size_of_every_family(explorer):
    seen = set()
    for dataset, architecture in FAMILIES:
        explorer.dataset.value, explorer.architecture.value = dataset, architecture
        assert list(explorer.size.options) == zoo.offered(dataset, architecture)
        for size in explorer.size.options:
            explorer.size.value = size
            check(explorer, Choice(dataset, architecture, size, count=2))
            seen.add(shown(explorer))
    assert len(seen) == sum(len(zoo.offered(*family)) for family in FAMILIES)


def test_the_buttons_offer_every_family(explorer):
    assert sorted(name for _, name in explorer.dataset.options) == sorted(data.CLASSES)
    assert {name for _, name in explorer.architecture.options} == {name for _, name in FAMILIES}


@pytest.mark.parametrize("dataset", data.CLASSES)
def test_every_group_of_images(dataset):
    explorer, seen = widgets.BottleneckExplorer(dataset, "dense", count=1), set()
    assert list(explorer.group.options) == [MIXED, *data.CLASSES[dataset]]
    for group in explorer.group.options:
        explorer.group.value = group
        check(explorer, Choice(dataset, "dense", explorer.size.options[0], group=group, count=1))
        seen.add(explorer.picture.value)
    assert len(seen) == 10  # of one image the mixture is the first class


def test_every_quality(explorer):
    explorer.size.value = 64
    assert (explorer.quality.min, explorer.quality.max) == (0, 7)
    seen = set()
    for quality in range(8):
        explorer.quality.value = quality
        check(explorer, Choice("cifar10", "conv", 64, quality, count=2))
        seen.add(shown(explorer))
    assert len(seen) == 8
    explorer.quality.value = 99
    assert explorer.quality.value == 7


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_it_opens_on_what_was_asked_for(dataset, architecture):
    sizes = zoo.offered(dataset, architecture)
    explorer = widgets.BottleneckExplorer(dataset, architecture, count=2)
    check(explorer, Choice(dataset, architecture, sizes[0], count=2))
    assert (explorer.play.min, explorer.play.max) == (0, len(sizes) - 1)


def test_it_opens_on_photographs_of_six_classes():
    assert widgets.BottleneckExplorer().choice == Choice("cifar10", "conv", 2, 7, MIXED, 6)


def test_the_browser_moves_the_controls_by_index(explorer):
    explorer.size.set_state({"index": 4})
    explorer.group.set_state({"index": 9})
    explorer.quality.set_state({"value": 2})
    check(explorer, Choice("cifar10", "conv", zoo.offered("cifar10", "conv")[4], 2, "ship", 2))


def test_play_sweeps_the_sizes_that_there_are(explorer):
    for dataset, architecture in FAMILIES:
        explorer.dataset.value, explorer.architecture.value = dataset, architecture
        explorer.play.value = 10**6
        assert explorer.play.value == len(explorer.size.options) - 1


def test_another_choice_keeps_what_it_can(explorer):
    explorer.size.value, explorer.quality.value, explorer.group.value = 128, 3, "frog"
    explorer.architecture.value = "dense"
    nearest = min(zoo.offered("cifar10", "dense"), key=lambda size: abs(size - 128))
    check(explorer, Choice("cifar10", "dense", nearest, 3, "frog", 2))
    explorer.dataset.value = "mnist"
    check(explorer, Choice("mnist", "dense", nearest, 3, MIXED, 2))  # no frogs there


def test_the_slider_never_stands_beyond_its_end(explorer):
    """Options and index reach the browser one after the other; a handle beyond the end would move there and stay."""
    stood = []
    explorer.size.observe(lambda _: stood.append((explorer.size.index, len(explorer.size._options_labels))), "index")
    explorer.size.observe(lambda change: stood.append((explorer.size.index, len(change.new))), "_options_labels")
    for dataset, architecture in FAMILIES:
        for size in zoo.offered("cifar10", "conv"):
            explorer.dataset.value, explorer.architecture.value = "cifar10", "conv"
            explorer.size.value = size
            explorer.dataset.value, explorer.architecture.value = dataset, architecture
    assert {length for _, length in stood} == {len(zoo.offered(*family)) for family in FAMILIES}
    assert [place for place in stood if place[0] >= place[1]] == []


def test_a_change_of_data_is_shown_once(explorer, monkeypatch):
    """Options and values change one after the other; half-way choices have no weights or no such class."""
    calls, render = [], views.render
    monkeypatch.setattr(views, "render", lambda choice: calls.append(choice) or render(choice))
    explorer.size.value, explorer.group.value = 256, "ship"
    calls.clear()
    explorer.dataset.value = "mnist"
    assert calls == [Choice("mnist", "conv", 64, count=2)]


def test_going_back_shows_the_same(explorer):
    before = shown(explorer)
    explorer.size.value, explorer.quality.value, explorer.group.value = 32, 1, "cat"
    assert not set(before) & set(shown(explorer))
    explorer.size.value, explorer.quality.value, explorer.group.value = 2, 7, MIXED
    assert shown(explorer) == before


@pytest.mark.parametrize(
    ("broken", "control", "value"),
    [
        ("views.render", "size", 4),
        ("views.render", "quality", 0),
        ("views.render", "group", "dog"),
        ("views.render", "dataset", "mnist"),
        ("views.render", "architecture", "dense"),
        ("markup.curve_svg", "size", 4),
        ("markup.view_html", "size", 4),
        ("zoo.offered", "dataset", "mnist"),
    ],
)
def test_an_error_comes_out_of_the_assignment(explorer, monkeypatch, broken, control, value):
    def fail(*_):
        raise RuntimeError("no picture today")

    monkeypatch.setattr(f"aelib.{broken}", fail)
    with pytest.raises(RuntimeError, match="no picture today"):
        getattr(explorer, control).value = value


# --- without a kernel


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_a_reader_without_a_kernel_sees_words_and_a_picture(dataset, architecture):
    explorer = widgets.BottleneckExplorer(dataset, architecture, count=2)
    explorer.quality.value = 5
    bundle = explorer._repr_mimebundle_()
    formats = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in formats
    assert formats["text/plain"] == f"{explorer.view.title}\n{explorer.view.caption}"
    assert formats["image/png"] == views.strip(explorer.choice)
    with Image.open(io.BytesIO(formats["image/png"])) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    assert plt.get_fignums() == []


# --- what is refused


@pytest.mark.parametrize("choice", [("fashion", "conv"), ("mnist", "resnet")])
def test_unknown_names_are_refused(choice):
    with pytest.raises(ValueError, match=rf"expected .*mnist.*conv.*, got .*{choice[0]}.*{choice[1]}"):
        widgets.BottleneckExplorer(*choice)


@pytest.mark.parametrize("count", [0, -1, 51])
def test_counts_that_the_images_cannot_fill_are_refused(count):
    with pytest.raises(ValueError, match=f"expected 1 to 50 images, got {count}"):
        widgets.BottleneckExplorer("mnist", count=count)


def test_a_choice_without_weights_says_so(monkeypatch):
    explorer = widgets.BottleneckExplorer("mnist", count=2)
    view, sizes = explorer.view, zoo.offered
    monkeypatch.setattr(zoo, "offered", lambda dataset, kind: [] if kind == "dense" else sizes(dataset, kind))
    explorer.architecture.value = "dense"

    def check_empty():
        assert shown(explorer) == ("", "No weights are shipped for this choice.", "")
        assert explorer.size.disabled

    check_empty()
    explorer.quality.value = 3  # the other controls still move
    check_empty()
    explorer.group.value = "5"
    check_empty()
    assert "image/png" not in explorer._repr_mimebundle_()
    explorer.dataset.value = "cifar10"
    check_empty()
    explorer.architecture.value = "conv"
    assert not explorer.size.disabled
    check(explorer, Choice("cifar10", "conv", explorer.size.value, 3, MIXED, 2))
    assert explorer.view != view


def test_a_family_that_is_not_shipped_is_not_opened(monkeypatch):
    sizes = zoo.offered
    monkeypatch.setattr(zoo, "offered", lambda dataset, kind: sizes(dataset, kind) if kind == "conv" else [])
    assert [name for _, name in widgets.BottleneckExplorer("mnist", count=1).architecture.options] == ["conv"]
    with pytest.raises(ValueError, match=r"got \('mnist', 'dense'\)"):
        widgets.BottleneckExplorer("mnist", "dense")


# --- memory


def resident():
    """Bytes of this process in memory (Linux, proc(5)), without those that the allocator keeps for later."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc; otherwise new leaks hide in old holes
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_over_a_thousand_moves():
    explorer, draw = widgets.BottleneckExplorer("mnist", count=2), random.Random(0)
    sizes, qualities, groups = explorer.size.options, range(8), (MIXED, "7")

    def move():
        control, values = draw.choice([(explorer.size, sizes), (explorer.quality, qualities), (explorer.group, groups)])
        control.value = draw.choice(values)

    for group, quality, size in itertools.product(groups, qualities, sizes):  # fills the caches with all 96 choices
        explorer.group.value, explorer.quality.value, explorer.size.value = group, quality, size
    for _ in range(100):
        move()
    before = resident()
    for _ in range(1000):
        move()
    grown = resident() - before
    # One kept set of pictures of 20 kB a move would be 20 MB; half-used pages of the heap come to less than 1.
    assert grown < 4 << 20, f"{grown / 1e6:.1f} MB more after 1,000 moves"
