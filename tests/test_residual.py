from pathlib import Path

import pytest
import torch
from torch import nn

from aelib import latent, losses, metrics, models, residual, train
from aelib.images import to_float


@pytest.fixture(scope="module")
def started(photographs):
    model = models.build("residual", 24)
    model.start(photographs[:300])
    return model


def operations(model):
    """Multiply-accumulates of encoder and decoder for one image."""
    counts = []

    def count(layer, inputs, output):
        # A transposed convolution multiplies every input value with its weights, the other layers make every output so.
        transposed = isinstance(layer, nn.ConvTranspose2d)
        counts.append((inputs[0] if transposed else output)[0].numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(count)
    model(torch.zeros(1, 3, 32, 32))
    return sum(counts)


def test_the_network_stays_within_its_budget_and_is_as_large_as_the_readme_says():
    """Two million values at K = 256, sixty million multiply-accumulates an image."""
    model = models.build("residual", 256)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters <= 2_000_000
    assert (cost := operations(model)) <= 60e6
    readme = " ".join((Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"{parameters / 1e6:.1f} million parameters at K = 256, {cost / 1e6:.0f} million multiply-accumulates" in readme
    )


def test_it_costs_thirty_to_fifty_times_as_much_as_the_small_network():
    """As notebook 3 says; there also: two million for the small one at K = 256."""
    small, large = ({size: operations(models.build(kind, size)) for size in (64, 256)} for kind in ("conv", "residual"))
    assert round(small[256] / 1e6) == 2
    assert [round(large[size] / small[size], -1) for size in (64, 256)] == [50, 30]


def test_it_starts_near_pca_of_the_images(started, photographs):
    photographs = photographs[:300]
    linear = latent.fit_image_pca(photographs, 24).reconstruct(photographs, 24)
    own = models.reconstruct(started, photographs)
    reached, goal = (float(metrics.psnr(photographs, found).mean()) for found in (own, linear))
    assert goal - 0.3 < reached < goal + 0.05  # the stages keep most of what PCA of whole images keeps
    untrained = models.reconstruct(models.build("residual", 24), photographs)
    assert float(metrics.psnr(photographs, untrained).mean()) < reached - 3


def test_its_latents_start_uncorrelated_with_variance_one(started, photographs):
    latents = models.codes(started, photographs[:300])
    assert torch.allclose(latents.mean(dim=0), torch.zeros(24), atol=1e-3)
    assert torch.allclose(torch.cov(latents.T), torch.eye(24), atol=0.02)


def test_the_start_depends_on_the_seed_alone(photographs):
    def weights(seed):
        model = models.build("residual", 4, size=8)
        model.start(photographs[:50, :, :8, :8], seed=seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_residual_block_starts_as_the_identity():
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    block = residual.Residual(8)
    assert torch.equal(block(x), x)
    torch.nn.init.ones_(block.outer.weight)
    assert not torch.equal(block(x), x)


def test_brightness_is_cut_off_but_the_gradient_lives():
    model = models.build("residual", 4)
    raw = torch.tensor([-1.0, 0.25, 3.0], requires_grad=True)
    squashed = model.squash(raw)
    assert torch.allclose(squashed, torch.tensor([-0.01, 0.25, 1.02]))
    squashed.sum().backward()
    assert torch.allclose(raw.grad, torch.tensor([0.01, 1.0, 0.01]))
    decoded = model.decode(20 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_an_ordered_network_sees_random_prefixes_in_training_only(photographs):
    model = models.build("ordered", 40)
    x = to_float(photographs[:100])
    with torch.no_grad():
        whole = model.eval().encode(x)
        model.train()
        torch.manual_seed(0)
        cut = model.encode(x)
    kept = (cut != 0).sum(dim=1)
    assert kept.min() >= 1
    assert kept.max() <= 40
    assert len(kept.unique()) > 20
    assert (kept <= 10).float().mean() == pytest.approx(0.5, abs=0.15)  # the square of a uniform number
    for row, own, length in zip(cut, whole, kept, strict=True):
        assert torch.equal(row, residual.prefix(own[None], int(length))[0])
    with torch.no_grad():
        assert torch.equal(model.eval().encode(x), whole)


@pytest.mark.parametrize("length", [-1, 5])
def test_a_prefix_is_no_longer_than_the_vector(length):
    with pytest.raises(ValueError, match=f"expected a length from 0 to 4, got {length}"):
        residual.prefix(torch.zeros(2, 4), length)


def test_a_shortened_network_does_what_its_parent_does_with_a_prefix(photographs):
    parent = models.build("ordered", 24)
    parent.start(photographs[:100])
    child = residual.shortened(parent.eval(), 10).eval()
    assert (type(child), child.latent_dim) == (residual.ResidualAutoencoder, 10)
    x = to_float(photographs[:20])
    with torch.no_grad():
        assert torch.allclose(child(x), parent.decode(residual.prefix(parent.encode(x), 10)), atol=1e-5)
    for wrong, size in ((parent, 25), (child, 5)):
        with pytest.raises(ValueError, match=f"expected an ordered autoencoder with {size} or more latents, got"):
            residual.shortened(wrong, size)


def test_the_loss_in_decibel_is_the_psnr(photographs, noise):
    target, other = to_float(photographs[:9]), to_float(noise(9, 3, 32, 32))
    raw = torch.logit(other, eps=1e-4)
    expected = -metrics.psnr(photographs[:9], noise(9, 3, 32, 32)).mean()
    assert float(losses.psnr(raw, target)) == pytest.approx(float(expected), abs=0.01)
    assert float(losses.psnr(other, target, lambda raw: raw)) == pytest.approx(float(expected), abs=1e-3)


def test_cross_entropy_wants_logits(photographs):
    model = models.build("residual", 4)
    with pytest.raises(ValueError, match="expected a network that ends in a sigmoid for the loss bce"):
        train.evaluate(model, photographs, loss="bce")


def test_training_goes_on_from_the_start(photographs):
    photographs = photographs[:100]
    model = models.build("residual", 8)
    model.start(photographs)
    before = train.evaluate(model, photographs, loss="psnr")
    settings = train.Settings(epochs=3, batch_size=10, learning_rate=3e-4, loss="psnr", flips=True)
    train.fit(model, photographs, photographs[:20], settings, device="cpu")
    assert train.evaluate(model, photographs, loss="psnr") < before - 0.02  # dB


def test_every_width_has_its_blocks():
    with pytest.raises(ValueError, match=r"as many numbers of blocks as widths, got \(2, 1\) and \(40, 80, 112\)"):
        residual.ResidualAutoencoder(8, blocks=(2, 1))
