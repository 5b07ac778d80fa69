"""Pictures and numbers of the slider, against the ruler and against every JPEG setting there is."""

import io
import itertools
import re
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from aelib import benchmark, codecs, data, ladders, markup, metrics, plots, recipes, upload, views, zoo
from aelib.files import read_picture
from aelib.images import untile
from aelib.ladders import MIXED
from aelib.views import Choice

FAMILIES = [tuple(family.split("-")) for family in recipes.SIZES]
PIXELS = {"mnist": 28 * 28, "cifar10": 32 * 32}
# Both ends and the middle; at the fine end of the photographs JPEG has files on both sides of the autoencoder's.
CHOICES = [
    Choice("cifar10", "conv", 256, 7, count=3),
    Choice("cifar10", "conv", 128, 4, "ship", 2),
    Choice("cifar10", "dense", 64, 2, count=2),
    Choice("cifar10", "conv", 2, 0, "frog", 2),
    Choice("mnist", "conv", 64, 7, count=3),
    Choice("mnist", "dense", 16, 3, "7", 2),
    Choice("mnist", "ordered", 8, 5, count=2),
    Choice("mnist", "conv", 2, 0, count=2),
]


def short(choice):
    return f"{choice.dataset}-{choice.architecture}-{choice.latent_dim}-q{choice.quality}"


each_choice = pytest.mark.parametrize("choice", CHOICES, ids=short)
each_accounting = pytest.mark.parametrize("accounting", ["shared", "file"])


@pytest.fixture(scope="module")
def images_of(samples):
    """The images that a choice shows, picked by hand from the bundled sample."""

    def pick(choice):
        sample = samples[choice.dataset, "test"]
        labels = [sample.classes[label] for label in sample.labels.tolist()]
        places = {name: [n for n, label in enumerate(labels) if label == name] for name in sample.classes}
        if choice.group == MIXED:
            assert choice.count <= 10
            return sample.images[[places[name][0] for name in sample.classes[: choice.count]]]
        return sample.images[places[choice.group][: choice.count]]

    return pick


def ruler(choice, images):
    """What `aelib.benchmark` says of a choice: the codec's pictures and its point."""
    codec = zoo.load_codec(zoo.model_name(choice.dataset, choice.architecture, choice.latent_dim), choice.quality)
    return codec.decode(codec.encode(images)), benchmark.measure(codec, images)


@pytest.fixture(scope="module")
def every_jpeg():
    """Every JPEG of one image, whatever the slider tries of them: (codec, bytes, PSNR in dB)."""

    @cache
    def tried(raw, shape):
        image = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(1, *shape)
        found = {"shared": [], "file": []}
        settings = itertools.product(range(1, 96), ("4:4:4", "4:2:0"), (False, True), (False, True))
        for codec in itertools.starmap(codecs.Jpeg, settings):
            (stream,) = codec.encode(image)
            psnr = float(metrics.psnr(image, codec.decode([stream])))
            found["file"].append((codec, len(stream), psnr))
            found["shared"].append((codec, len(codec.payload(stream)) + 1, psnr))
        return found

    return lambda image, accounting: tried(image.numpy().tobytes(), tuple(image.shape))[accounting]


def nearest(tried, accounting, target):
    """The JPEG nearest in bytes, the best of equals, with the Huffman tables that suit the accounting."""
    suited = [one for one in tried if one[0].optimize == (accounting == "file")]
    return min(suited, key=lambda one: (abs(one[1] - target), -one[2]))


# --- which images


@pytest.mark.parametrize("dataset", data.CLASSES)
def test_originals_are_the_first_of_each_class_or_of_one(dataset, images_of):
    for group in (MIXED, *data.CLASSES[dataset]):
        for count in (1, 4, 10):
            shown = ladders.originals(dataset, group, count)
            assert torch.equal(shown, images_of(Choice(dataset, group=group, count=count)))


@pytest.mark.parametrize("dataset", data.CLASSES)
@pytest.mark.parametrize("count", [1, 6, 10, 25])
def test_the_mixture_has_as_many_classes_as_fit_and_promises_no_more(dataset, count, samples):
    sample = samples[dataset, "test"]
    label_of = dict(zip([image.numpy().tobytes() for image in sample.images], sample.labels.tolist(), strict=True))
    labels = [label_of[image.numpy().tobytes()] for image in ladders.originals(dataset, MIXED, count)]
    assert len(set(labels)) == min(count, 10)
    assert not re.search("each|every|all", MIXED), "which is wrong for a row of fewer than ten"


@pytest.mark.parametrize("dataset", data.CLASSES)
def test_every_group_fills_as_many_places_as_the_mixture(dataset):
    """A widget checks its count once, against the mixture, and lets the reader choose any group later."""
    with pytest.raises(ValueError, match="expected 1 to 50 images, got 51"):
        ladders.originals(dataset, count=51)
    for group in (MIXED, *data.CLASSES[dataset]):
        assert len(ladders.originals(dataset, group, 50)) == 50


def test_originals_are_those_of_the_sample_whatever_the_source(monkeypatch):
    before = ladders.originals("mnist", MIXED, 7)
    ladders.originals.cache_clear()
    ladders._sample.cache_clear()
    monkeypatch.setenv("AELIB_SOURCE", "cache")  # where nothing is
    assert torch.equal(ladders.originals("mnist", MIXED, 7), before)


@pytest.mark.parametrize("group", ["ship", "10", ""])
def test_originals_refuse_unknown_groups(group):
    with pytest.raises(ValueError, match=rf"expected 'mixed classes' or a class out of .*'9'\), got '{group}'"):
        ladders.originals("mnist", group)


@pytest.mark.parametrize("count", [0, -1, 1001])
@pytest.mark.parametrize("group", [MIXED, "3"])
def test_originals_refuse_counts(group, count):
    with pytest.raises(ValueError, match=rf"expected 1 to \d+ images, got {count}"):
        ladders.originals("mnist", group, count)


# --- the autoencoder


@each_choice
def test_pictures_bytes_and_quality_are_the_rulers(choice, images_of):
    images = images_of(choice)
    restored, point = ruler(choice, images)
    for accounting, rate in (("shared", point.rate_shared), ("file", point.rate_file)):
        one = views.coded(choice, accounting)
        assert torch.equal(one.pictures, restored)
        assert one.psnr.tolist() == pytest.approx(metrics.psnr(images, restored).tolist())
        assert float(one.ssim.mean()) == pytest.approx(point.ssim.mean)
        assert one.point == pytest.approx((rate.mean * PIXELS[choice.dataset] / 8, point.psnr.mean))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(latent_dim=65), r"shipped weights, .*cifar10-conv-64.*, got 'cifar10-conv-65'"),
        (Choice("fashion"), "data set out of .*got 'fashion'|shipped weights.*fashion-conv-2"),
        (Choice(quality=8), "quality from 0 to 7, got 8"),
        (Choice(group="7"), "a class out of"),
        (Choice(count=0), "got 0"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(choice, message):
    for shown in (views.coded, views.render):
        with pytest.raises(ValueError, match=message):
            shown(choice)


def test_the_summary_is_arithmetic():
    sizes, rates = torch.tensor([2, 3]), torch.tensor([0.5, 0.75])
    one = views.Coded(torch.zeros(2, 3, 4, 8), sizes, rates, torch.tensor([20.0, 30.0]), torch.ones(2) / 4)
    # 2.5 bytes are 20 bits on 32 pixels; 96 values of one byte each
    assert one.summary() == "2.5 bytes (0.625 bpp, 38.4 to 1), PSNR 25.00 dB, SSIM 0.250"


def test_the_rates_come_from_the_ruler(monkeypatch):
    choice, measured = Choice("mnist", "conv", 4, 3, "2", 1), metrics.bits_per_pixel
    before = views.render(choice).caption
    monkeypatch.setattr(metrics, "bits_per_pixel", lambda *of: 10 * measured(*of))
    monkeypatch.setattr(metrics, "compression_ratio", lambda rate, channels: 4321.0)
    caches = (views._coded, ladders.jpegs, views.jpeg_beside, views.render)
    for cached in caches:
        cached.cache_clear()
    after = views.render(choice).caption
    for cached in caches:
        cached.cache_clear()
    old, new = ([float(rate) for rate in re.findall(r"([\d.]+) bpp", text)] for text in (before, after))
    assert len(new) == 3
    assert new == pytest.approx([10 * rate for rate in old], abs=0.0051)  # of three decimals
    assert after.count("4,321.0 to 1") == 3


# --- JPEG beside it


@each_choice
@each_accounting
def test_jpeg_beside_is_the_nearest_of_all_settings(choice, accounting, images_of, every_jpeg):
    own, other = views.coded(choice, accounting), views.jpeg_beside(choice, accounting)
    for n, image in enumerate(images_of(choice)):
        target = int(own.sizes[n])
        every = every_jpeg(image, accounting)
        codec, size, psnr = nearest(every, accounting, target)
        assert int(other.sizes[n]) == size
        assert float(other.psnr[n]) == pytest.approx(psnr)
        nearer = [one for one in every if abs(one[1] - target) < abs(size - target)]
        assert all(one[2] < psnr for one in nearer), "other Huffman tables come nearer and are not worse"
        assert torch.equal(other.pictures[n], codec.decode(codec.encode(image[None]))[0])
        assert float(other.ssim[n]) == pytest.approx(float(metrics.ssim(image[None], other.pictures[n : n + 1])))


def test_some_choice_lies_between_the_ends_of_jpeg(every_jpeg, images_of):
    """Without it the test above would hold for a codec that knew nothing but quality 1."""
    choice = CHOICES[0]
    for accounting, image in itertools.product(("shared", "file"), images_of(choice)):
        sizes = {size for _, size, _ in every_jpeg(image, accounting)}
        near = views.jpeg_beside(choice, accounting).sizes.tolist()
        if accounting == "shared":
            assert min(near) > min(sizes)
        assert max(near) < max(sizes)


# --- the view


@each_choice
def test_the_caption_is_what_the_ruler_says(choice, images_of, every_jpeg):
    images, pixels = images_of(choice), PIXELS[choice.dataset]
    raw = images[0].numel()
    _, point = ruler(choice, images)

    def words(rate, psnr, ssim):
        size = rate * pixels / 8
        return f"{size:.1f} bytes ({rate:.3f} bpp, {raw / size:,.1f} to 1), PSNR {psnr:.2f} dB, SSIM {ssim:.3f}"

    def mean_jpeg(accounting):
        rates, psnrs, ssims = [], [], []
        for image, target in zip(images, views.coded(choice, accounting).sizes.tolist(), strict=True):
            codec, *_ = nearest(every_jpeg(image, accounting), accounting, target)
            found = benchmark.measure(codec, image[None])
            rates.append(found.rate_file.mean if accounting == "file" else found.rate_shared.mean)
            psnrs.append(found.psnr.mean)
            ssims.append(found.ssim.mean)
        return words(*map(np.mean, (rates, psnrs, ssims)))

    card = zoo.card(zoo.model_name(choice.dataset, choice.architecture, choice.latent_dim))
    first, shared, whole, everything = views.render(choice).caption.split("\n")
    which = ", the first of 64" if choice.architecture == "ordered" else ""
    own = words(point.rate_shared.mean, point.psnr.mean, point.ssim.mean)
    bits = (point.rate_shared.mean * pixels - 8) / choice.latent_dim  # less the byte for the quality
    assert first.endswith(
        f": with a shared header mean of {own}, {bits:.2f} bits per latent (quality {choice.quality} of 7)."
    )
    assert f"K = {choice.latent_dim}{which}: " in first
    assert shared == f"JPEG, shared header: {mean_jpeg('shared')}."
    stream = f"the autoencoder's whole stream has {point.rate_file.mean * pixels / 8:.1f} bytes"
    assert whole == f"JPEG, whole file: {mean_jpeg('file')}; {stream}."
    assert f"All 10,000 test images, float latents: PSNR {card.test['mean_psnr']:.2f} dB" in everything
    assert f"PCA with K = {choice.latent_dim}: {card.pca_mean_psnr:.2f} dB." in everything


@each_choice
def test_the_rows_are_the_pictures(choice, images_of):
    view, images = views.render(choice), images_of(choice)
    restored, _ = ruler(choice, images)
    error = ((restored.int() - images.int()).abs() * 4).clamp(max=255).to(torch.uint8)
    jpeg = [views.jpeg_beside(choice, accounting) for accounting in ("shared", "file")]
    expected = [images, restored, jpeg[0].pictures, jpeg[1].pictures, error]
    assert [row.label for row in view.rows] == ["original", "autoencoder", "JPEG", "JPEG", "error"]
    for row, pictures in zip(view.rows, expected, strict=True):
        assert torch.equal(untile(read_picture(row.png, "PNG"), tuple(images.shape[2:])), pictures)
    for row, one in zip(view.rows[1:4], (views.coded(choice), *jpeg), strict=True):
        pairs = zip(one.sizes.tolist(), one.psnr.tolist(), strict=True)
        assert row.cells == tuple(f"{size} B, {psnr:.1f} dB" for size, psnr in pairs)
    assert f"{images[0].numel():,} bytes" in view.rows[0].note


@pytest.mark.parametrize(("dataset", "architecture"), FAMILIES)
def test_the_title_names_data_network_and_size(dataset, architecture):
    size = zoo.offered(dataset, architecture)[-1]
    names = {"mnist": "MNIST", "cifar10": "CIFAR-10", "conv": "convolutional", "dense": "fully connected"}
    names |= {"residual": "residual", "ordered": "ordered"}
    title = views.render(Choice(dataset, architecture, size, count=1)).title
    assert title == f"{names[dataset]}, {names[architecture]} autoencoder, K = {size}"


def test_a_prefix_says_of_how_many_numbers_it_is_the_first():
    said = "MNIST, ordered autoencoder, K = 16, the first of 64: with"
    assert views.render(Choice("mnist", "ordered", 16, count=1)).caption.startswith(said)
    for whole in (Choice("mnist", "ordered", 64, count=1), Choice("mnist", "residual", 16, count=1)):
        assert "the first of" not in views.render(whole).caption


def test_equal_choices_share_one_view_and_no_memory_grows_without_end():
    assert views.render(CHOICES[-1]) is views.render(Choice("mnist", "conv", 2, 0, MIXED, 2))
    assert views.render(CHOICES[-1]) is not views.render(Choice("mnist", "conv", 2, 1, MIXED, 2))
    found = {(own.__name__, name): one for own in (ladders, views, markup, upload) for name, one in vars(own).items()}
    limits = {place: one.cache_parameters()["maxsize"] for place, one in found.items() if hasattr(one, "cache_info")}
    assert {("aelib.views", "render"), ("aelib.markup", "view_html"), ("aelib.ladders", "jpegs")} <= set(limits)
    unlimited = {place for place, limit in limits.items() if limit is None}
    assert unlimited <= {("aelib.ladders", "_sample")}, "as many as data sets and weights"


# --- the curves


@pytest.mark.parametrize("choice", [CHOICES[2], CHOICES[5]], ids=short)
def test_points_of_the_autoencoder_are_the_rulers(choice, images_of):
    def measured(latent_dim, quality):
        own = Choice(choice.dataset, choice.architecture, latent_dim, quality)
        _, point = ruler(own, images_of(choice))
        return point.rate_shared.mean * PIXELS[choice.dataset] / 8, point.psnr.mean

    found, sizes = views.points(choice), zoo.offered(choice.dataset, choice.architecture)
    expected = {
        "every K": [measured(size, choice.quality) for size in sizes],
        "every quality": [measured(choice.latent_dim, quality) for quality in range(8)],
    }
    for label, pairs in expected.items():
        assert np.array(found[label]) == pytest.approx(np.array(pairs))
    assert expected["every K"][sizes.index(choice.latent_dim)] == expected["every quality"][choice.quality]


@pytest.mark.parametrize("choice", [CHOICES[2], CHOICES[5]], ids=short)
@pytest.mark.parametrize(("accounting", "label"), [("shared", "JPEG, shared header"), ("file", "JPEG, whole file")])
def test_no_jpeg_setting_lies_above_the_curve(choice, accounting, label, images_of, every_jpeg):
    ladders = [every_jpeg(image, accounting) for image in images_of(choice)]
    means = np.array([np.mean([one[1:] for one in setting], axis=0) for setting in zip(*ladders, strict=True)])
    hull = np.array(views.points(choice)[label])
    for corner in hull:
        assert np.abs(means - corner).max(axis=1).min() < 1e-9, "a corner that no setting has"
    height = np.interp(means[:, 0], hull[:, 0], hull[:, 1], left=-np.inf)
    # Fitted tables pay for themselves with a shared header too, but only far above what the axes show.
    shown = means[:, 1] <= markup._AXES[choice.dataset][3]
    assert shown.sum() > 100
    assert (means[shown, 1] <= height[shown] + 1e-9).all()
    assert (np.diff(hull, axis=0) > 0).all()


# --- the strip for readers without a kernel


@pytest.mark.parametrize("choice", [CHOICES[1], CHOICES[5]], ids=short)
def test_the_strip_shows_every_size(choice, monkeypatch, images_of):
    drawn, draw = [], plots.picture_rows

    def spy(rows, **options):
        drawn.append((rows, options["title"]))
        return draw(rows, **options)

    monkeypatch.setattr(plots, "picture_rows", spy)
    views.strip.cache_clear()
    png = views.strip(choice)
    ((rows, title),) = drawn
    assert views.render(choice).title.startswith(title.split("\n")[0])
    assert f"mean bytes with a shared header and mean PSNR\n{choice.count} images: {choice.group}" in title
    images = images_of(choice)
    assert torch.equal(rows.pop("original"), images)
    sizes = zoo.offered(choice.dataset, choice.architecture)
    for size, (label, pictures) in zip(sizes, rows.items(), strict=True):
        own = Choice(choice.dataset, choice.architecture, size, choice.quality, choice.group, choice.count)
        restored, point = ruler(own, images)
        assert torch.equal(pictures, restored)
        length = point.rate_shared.mean * PIXELS[choice.dataset] / 8
        words = [f"K = {size}", f"{length:.0f} B", f"{point.psnr.mean:.2f} dB"]
        assert re.split(r"\n|, ", label) == words
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.height > 60 * (1 + len(sizes))
    assert plt.get_fignums() == []
