import html
import io
import itertools

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from aelib import benchmark, data, metrics, models, widgets, zoo
from aelib.images import read_picture, untile

FAMILIES = list(itertools.product(data.CLASSES, models.ARCHITECTURES))


@pytest.fixture(scope="module")
def explorer():
    return widgets.BottleneckExplorer()


def measured(name, first, count, samples):
    """Originals and what the codec makes of them, as the ruler sees it, without the widgets."""
    images = samples[zoo.card(name).dataset, "test"].images[first : first + count]
    codec = zoo.load_codec(name)
    return images, codec.decode(codec.encode(images)), benchmark.measure(codec, images)


def test_every_choice_can_be_made(explorer):
    seen = set()
    for _, dataset in explorer.dataset.options:
        explorer.dataset.value = dataset
        for _, architecture in explorer.architecture.options:
            explorer.architecture.value = architecture
            assert list(explorer.size.options) == zoo.sizes(dataset, architecture)
            for size in explorer.size.options:
                explorer.size.value = size
                seen.add((dataset, architecture, size))
                view = widgets.render(dataset, architecture, size)
                assert explorer.view == view
                assert f"K = {size}" in view.caption
                assert all(html.escape(line) in explorer.caption.value for line in view.caption.split("\n"))
                assert f'alt="{view.alt}"' in explorer.picture.value
    assert {zoo.model_name(*choice) for choice in seen} == set(zoo.names())


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
@pytest.mark.parametrize(("first", "count"), [(0, 8), (37, 3)])
def test_the_caption_is_what_the_metrics_say(dataset, architecture, first, count, samples):
    size = zoo.sizes(dataset, architecture)[1]
    name = zoo.model_name(dataset, architecture, size)
    view, card = widgets.render(dataset, architecture, size, first, count), zoo.card(name)
    images, restored, point = measured(name, first, count, samples)
    assert view.psnr == pytest.approx(metrics.psnr(images, restored).tolist(), abs=1e-9)
    assert f"mean PSNR {point.psnr.mean:.2f} dB, SSIM {point.ssim.mean:.3f}" in view.caption
    pixels = card.size**2
    for rate in (point.rate_shared.mean, point.rate_file.mean):
        assert f"{rate * pixels / 8:.1f} bytes" in view.caption
        assert f"({rate:.3f} bpp" in view.caption
    assert sum(view.sizes) / count == pytest.approx(point.rate_shared.mean * pixels / 8)
    assert f"mean PSNR {card.test['mean_psnr']:.2f} dB, SSIM {card.test['ssim']:.3f}; PCA" in view.caption
    assert f"PCA with K = {size}: {card.pca_mean_psnr:.2f} dB" in view.caption
    assert f"{card.channels * pixels:,} bytes uncompressed" in view.caption


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_the_picture_shows_originals_reconstructions_and_errors(dataset, architecture, samples):
    size = zoo.sizes(dataset, architecture)[0]
    images, restored, _ = measured(zoo.model_name(dataset, architecture, size), 2, 5, samples)
    picture = read_picture(widgets.render(dataset, architecture, size, 2, 5).png)
    error = ((restored.int() - images.int()).abs() * widgets.ERROR_GAIN).clamp(max=255)
    assert torch.equal(untile(picture, data.SHAPES[dataset][1:]), torch.cat([images, restored, error]).to(torch.uint8))


def test_render_is_cached():
    first = widgets.render("mnist", "conv", 8)
    assert widgets.render("mnist", "conv", 8) is first
    assert widgets.render("mnist", "conv", 4) is not first


def test_going_back_shows_the_same_picture():
    explorer = widgets.BottleneckExplorer("mnist", "dense")
    before = explorer.picture.value, explorer.caption.value, explorer.table.value
    explorer.size.value = explorer.size.options[-1]
    explorer.first.value = 5
    assert not {explorer.picture.value, explorer.caption.value, explorer.table.value} & set(before)
    explorer.first.value = 0
    explorer.size.value = explorer.size.options[0]
    assert (explorer.picture.value, explorer.caption.value, explorer.table.value) == before


def test_another_choice_keeps_the_nearest_size(explorer):
    explorer.dataset.value, explorer.architecture.value = "cifar10", "conv"
    explorer.size.value = 128
    explorer.architecture.value = "dense"
    assert explorer.size.value == min(zoo.sizes("cifar10", "dense"), key=lambda size: abs(size - 128))
    explorer.dataset.value = "mnist"
    assert explorer.size.value in zoo.sizes("mnist", "dense")
    assert explorer.view == widgets.render("mnist", "dense", explorer.size.value)


def test_the_number_of_the_first_image_stays_within_the_sample():
    explorer = widgets.BottleneckExplorer("mnist", count=3)
    explorer.first.value = 10**6
    assert explorer.first.value == 997
    assert explorer.view == widgets.render("mnist", "conv", explorer.size.value, 997, 3)
    explorer.first.value = -5
    assert explorer.first.value == 0


def test_the_table_lists_all_sizes_beside_pca(explorer):
    explorer.dataset.value, explorer.architecture.value = "mnist", "conv"
    for name in zoo.names("mnist", "conv"):
        card = zoo.card(name)
        for value in (card.latent_dim, f"{card.test['mean_psnr']:.2f}", f"{card.pca_mean_psnr:.2f}"):
            assert f">{value}</td>" in explorer.table.value


def test_an_error_comes_out_of_the_assignment(monkeypatch):
    explorer = widgets.BottleneckExplorer("mnist")

    def broken(*choice):
        raise RuntimeError("no picture today")

    monkeypatch.setattr(widgets, "render", broken)
    with pytest.raises(RuntimeError, match="no picture today"):
        explorer.size.value = explorer.size.options[1]
    with pytest.raises(RuntimeError, match="no picture today"):
        explorer.first.value = 1


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_a_reader_without_a_kernel_sees_a_picture(dataset, architecture):
    explorer = widgets.BottleneckExplorer(dataset, architecture, count=4)
    bundle = explorer._repr_mimebundle_()
    formats = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in formats
    assert explorer.view.caption in formats["text/plain"]
    with Image.open(io.BytesIO(formats["image/png"])) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    assert plt.get_fignums() == []


@pytest.mark.parametrize("choice", [("fashion", "conv"), ("mnist", "resnet")])
def test_unknown_names_are_refused(choice):
    with pytest.raises(ValueError, match=rf"expected .*mnist.*conv.*, got .*{choice[0]}.*{choice[1]}"):
        widgets.BottleneckExplorer(*choice)


def test_sizes_and_images_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"shipped weights, .*cifar10-conv-64.*, got 'cifar10-conv-65'"):
        widgets.render("cifar10", "conv", 65)
    for first, count in [(0, 0), (-1, 4), (998, 3), (0, 1001)]:
        with pytest.raises(ValueError, match=f"of the 1000 bundled images, got {count} from number {first}"):
            widgets.render("mnist", "conv", 8, first, count)
    for count in (0, 1001):
        with pytest.raises(ValueError, match=f"got {count}"):
            widgets.BottleneckExplorer("mnist", count=count)


def test_a_choice_without_weights_says_so(monkeypatch):
    explorer = widgets.BottleneckExplorer("mnist")
    sizes = zoo.sizes
    monkeypatch.setattr(zoo, "sizes", lambda dataset, kind: [] if kind == "dense" else sizes(dataset, kind))
    explorer.architecture.value = "dense"
    assert "No weights are shipped" in explorer.caption.value
    assert explorer.size.disabled
    explorer.architecture.value = "conv"
    assert not explorer.size.disabled
    assert explorer.view == widgets.render("mnist", "conv", explorer.size.value)
