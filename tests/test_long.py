"""Long use of one process leaves its memory flat; a thousand moves of the slider are in test_widgets.py."""

import sys

import pytest
from test_widgets import resident

from aelib import codecs, models, train, zoo

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
ROUNDS, FITS = 10_000, 20
FLAT = 8 << 20  # bytes; 1 kB kept in each of the rounds would be 10 MB, one copy of a fit's images and moments 5 MB


def growth(work, *, warm_up, count):
    """Bytes by which the process grows in `count` rounds that follow a warm-up."""
    for _ in range(warm_up):
        work()
    before = resident()
    for _ in range(count):
        work()
    return resident() - before


def fixed_length():
    coder = zoo.load_codec("cifar10-conv-16")
    return codecs.FixedLength(coder.model, coder.quantiser, 8)


CODECS = {
    "jpeg": lambda: codecs.Jpeg(50),
    "png": codecs.Png,
    "webp": lambda: codecs.WebP(50),
    "avif": lambda: codecs.Avif(50),
    "jpeg2000": lambda: codecs.Jpeg2000(30),
    "jpegxl": lambda: codecs.JpegXl(2.0),
    "autoencoder": lambda: zoo.load_codec("cifar10-conv-16"),
    "blocks": lambda: codecs.Blocks(zoo.load_codec("cifar10-conv-16")),
    "fixed-length": fixed_length,
}


@pytest.mark.parametrize("name", CODECS)
def test_ten_thousand_rounds_of_a_codec(name, photographs):
    codec, image = CODECS[name](), photographs[:1]
    assert growth(lambda: codec.decode(codec.encode(image)), warm_up=500, count=ROUNDS) < FLAT


def test_ten_thousand_rounds_of_the_learned_codec(digits):
    """Of 8x8 pixels: one image takes 30 ms at any size up to a digit's, most of it for the walk through the prior."""
    codec, image = zoo.load_learned("mnist", 3), digits[:1, :, 10:18, 10:18].contiguous()
    assert growth(lambda: codec.decode(codec.encode(image)), warm_up=100, count=ROUNDS) < FLAT


def test_ten_thousand_images_of_the_learned_codec(digits):
    """As streams of a batch, which take the walk together."""
    codec, images = zoo.load_learned("mnist", 3), digits[:100]
    assert growth(lambda: codec.decode(codec.encode(images)), warm_up=10, count=ROUNDS // len(images)) < FLAT


def test_twenty_fits(digits, tmp_path):
    def fit():
        model, file = models.build("conv", 8, channels=1, size=28), tmp_path / "model.pt"
        settings = train.Settings(epochs=2, batch_size=50)
        train.fit(model, digits[:400], digits[400:500], settings, device="cpu", checkpoint=file)
        file.unlink()

    assert growth(fit, warm_up=3, count=FITS) < FLAT
