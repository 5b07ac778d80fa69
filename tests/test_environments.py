"""What training and quality give, stored once, to be found again under other versions and numbers of threads.

`make test-oldest` runs this, the golden streams and the tests of whole numbers under the oldest packages allowed.
"""

import pytest
import torch

from aelib import codecs, learned, metrics, models, train, train_rate

SAME = 1e-4  # ten steps; sums in another order change the seventh digit, another definition the first
EPOCH_LOSS = {"mse": 0.21298733353614807, "bce": 0.6560940146446228}
RATE_LOSS = 117.56366729736328
QUALITY = {"psnr": 29.128506145400262, "ssim": 0.9180617585627674}


@pytest.fixture(params=[1, 2], ids="{} threads".format, autouse=True)
def threads(request):
    """Run with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("loss", EPOCH_LOSS)
def test_an_epoch_of_training_ends_with_the_stored_loss(loss, digits):
    model = models.build("conv", 8, channels=1, size=28, seed=0)
    settings = train.Settings(epochs=1, batch_size=50, loss=loss)
    (epoch,) = train.fit(model, digits[:500], digits[500:700], settings, device="cpu")
    assert epoch.validation_loss == pytest.approx(EPOCH_LOSS[loss], rel=SAME)


def test_steps_of_training_for_rate_end_with_the_stored_loss(photographs):
    torch.manual_seed(0)
    model = learned.Model(learned.Design(3, widths=(4, 8), blocks=(1, 1), groups=(1, 3), hidden=4))
    settings = train_rate.Settings(steps=10, batch_size=8)
    looks = train_rate.fit(model, photographs[:100], photographs[100:120], settings, device="cpu", every=10)
    assert looks[-1].loss == pytest.approx(RATE_LOSS, rel=SAME)


@pytest.mark.parametrize("measure", QUALITY)
def test_a_jpeg_has_the_stored_quality(measure, photographs):
    """Another libjpeg or scikit-image would show here."""
    images, codec = photographs[:50], codecs.Jpeg(50)
    found = getattr(metrics, measure)(images, codec.decode(codec.encode(images)))
    assert float(found.mean()) == pytest.approx(QUALITY[measure], rel=1e-9)
