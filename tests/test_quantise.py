import numpy as np
import pytest
import torch

from aelib import data, entropy, metrics, models, quantise


@pytest.fixture(scope="module")
def images():
    return data.load("mnist", "train", source="sample").images[:600]


@pytest.fixture(scope="module")
def model(images):
    from aelib import train

    model = models.build("dense", 6, channels=1, size=28)
    train.fit(model, images, images[:50], train.Settings(epochs=30, batch_size=32), device="cpu")
    return model


@pytest.fixture(scope="module")
def quantiser(model, images):
    return quantise.fit(model, images, probes=600)


def loss_db(model, quantiser, images, quality):
    latents = models.codes(model, images)
    rounded = quantiser.latents(quantiser.symbols(latents, quality), quality)
    own, coded = (metrics.psnr(images, models.pictures(model, z)).mean() for z in (latents, rounded))
    return float(own - coded)


def test_the_best_quality_costs_the_promised_loss_where_the_step_was_chosen(model, quantiser, images):
    # The search ends within a thousandth of the step; the loss goes with its square.
    assert loss_db(model, quantiser, images, 7) == pytest.approx(quantise.LOSS_DB, abs=0.01)


def test_coarser_steps_cost_quality_and_save_bits(model, quantiser, images):
    latents = models.codes(model, images)
    bits, losses = [], []
    for quality in quantise.QUALITIES:
        bits.append(entropy.information(quantiser.symbols(latents, quality), quantiser.at(quality)).mean())
        losses.append(loss_db(model, quantiser, images, quality))
    assert bits == sorted(bits)
    assert losses == sorted(losses, reverse=True)
    # Twice the step is at most one bit less for each of the six latents, and nearly that while steps are small.
    assert 4.5 < bits[7] - bits[5] <= 6


def test_symbols_are_the_nearest_multiples(quantiser):
    latents = torch.tensor(quantiser.steps * np.array([[0.4, -0.6, 2.0, 3.49, -7.51, 0]]))
    assert quantiser.symbols(latents, 7).tolist() == [[0, -1, 2, 3, -8, 0]]
    restored = quantiser.latents(quantiser.symbols(latents, 7), 7)
    assert restored.dtype == torch.float64
    assert bool(((restored - latents).abs() <= torch.from_numpy(quantiser.steps) / 2).all())


def test_steps_make_every_latent_cost_the_same(model, quantiser, images):
    latents = models.codes(model, images)
    clean = model.decode(latents)
    costs = []
    for k, step in enumerate(quantiser.steps):
        moved = latents.clone()
        moved[:, k] += step / 4
        with torch.no_grad():
            costs.append(float((model.decode(moved) - clean).square().mean()))
    # Hutchinson's estimate from eight signs, and a decoder that is not linear, leave some per cent.
    assert max(costs) < 2 * min(costs)


@pytest.mark.parametrize("quality", [-1, 8, 2.5, None, "7"])
def test_qualities_that_do_not_exist_are_named(quantiser, quality):
    with pytest.raises(ValueError, match="expected a whole quality from 0 to 7, got"):
        quantiser.symbols(torch.zeros(1, 6), quality)


def test_a_quantiser_needs_tables_for_every_quality_and_latent(quantiser):
    with pytest.raises(ValueError, match="expected 8 tables for each of 5, got 48"):
        quantise.Quantiser(quantiser.steps[:5], quantiser.tables)


def test_a_model_in_training_mode_is_refused(noise):
    with pytest.raises(ValueError, match="expected a model in eval mode, got one in training mode"):
        quantise.fit(models.build("ordered", 4, channels=1, size=8).train(), noise(3, 1, 8, 8))
