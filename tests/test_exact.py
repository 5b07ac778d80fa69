"""The prior in whole numbers against an independent one, and its streams against Shannon's bound."""

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aelib import entropy, exact, prior
from aelib.codecs import lanes


def random_prior(groups=(1, 2, 3), hidden=7, seed=0, halved=0):
    """A float prior with weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    made = prior.Prior(groups, hidden, halved)
    made.expect(torch.linspace(0.7, 20, 8)[:, None].repeat(1, sum(groups)))
    with torch.no_grad():
        for value in made.parameters():
            value += 0.3 * torch.randn(value.shape, generator=generator)
    return made


@pytest.fixture(scope="module", params=[0, 1, 2, 3], ids="{} halved".format)
def whole(request):
    return exact.Integer.of(random_prior(halved=request.param))


def residuals(count, *shape, seed=0, spread=3.0):
    generator = np.random.default_rng(seed)
    return np.rint(generator.normal(0, spread, (count, *shape))).astype(np.int64)


def walked(whole, levels, symbols):
    """Latents and scales where the symbols are given; `FILLING` where scale 0 makes them 0."""
    kept = np.full_like(symbols, -1)

    def choose(own, means, scales):
        assert means.shape == scales.shape == symbols[:, own].shape
        inside = scales != exact.FILLING
        assert (kept[:, own][inside] == -1).all(), "coded twice"
        kept[:, own][inside] = scales[inside]
        return symbols[:, own]

    latents = whole.walk(levels, *symbols.shape[2:], choose)
    return latents, np.where(kept < 0, exact.FILLING, kept)


def walked_by_hand(values, level, symbols, halved):
    """The same for one image, from the definition alone: int64, loops over places, shifts."""
    share = [max(0, 255 - abs(7 * int(level) - 255 * k)) for k in range(8)]

    def mix(name):
        return [(sum(s * int(v) for s, v in zip(share, column, strict=True)) + 127) // 255 for column in values[name].T]

    channels, height, width = symbols.shape
    count = len([name for name in values if name.startswith("biases")])
    units, inverses = mix("units"), mix("inverses")
    latents, scales = np.zeros_like(symbols), np.zeros_like(symbols)
    context = np.zeros((channels, height + 2, width + 2), np.int64)
    first = 0
    for step in range(count):
        size = len(values[f"biases.{step}"][0]) // 2
        colour = step % 2 if step < 2 * halved else None  # black places first, then white ones; None for both
        known = context[: first + size if colour == 1 else first].copy()
        bias = np.array(mix(f"biases.{step}"))
        for y in range(height):
            for x in range(width):
                if colour is not None and (y + x) % 2 != colour:
                    continue
                found = bias.copy()
                if step:
                    sums = np.einsum("hcij,cij->h", values[f"inner.{step - 1}.weight"], known[:, y : y + 3, x : x + 3])
                    sums += np.array(mix(f"shifts.{step - 1}")) << 14
                    hidden = ((sums + (1 << 13)) >> 14).clip(0, 1 << 20)
                    found += (values[f"outer.{step - 1}.weight"][:, :, 0, 0] @ hidden + (1 << 13)) >> 14
                for k, c in enumerate(range(first, first + size)):
                    scale = min(63, (int(found[size + k]) * 6 + (1 << 9)) >> 10)
                    scales[c, y, x] = scale if scale > 0 else exact.FILLING
                    mean = (int(found[k].clip(-(1 << 17), 1 << 17)) * units[c] + (1 << 15)) >> 16
                    latents[c, y, x] = mean + (16 * symbols[c, y, x] if scale > 0 else 0)
                    own = (latents[c, y, x] * inverses[c] + (1 << 9)) >> 10
                    context[c, y + 1, x + 1] = own.clip(-(1 << 16), 1 << 16)
        first += 0 if colour == 0 else size
    return latents, scales


@pytest.mark.parametrize("shape", [(6, 4, 4), (6, 1, 1), (6, 3, 5)])
def test_an_independent_prior_in_numpy_agrees_exactly(whole, shape):
    levels = np.array([0, 1, 100, 254, 255])
    symbols = residuals(len(levels), *shape, spread=6)
    symbols[0, 0, 0, 0], symbols[1, 1, 0, 0] = exact.SYMBOL, -exact.SYMBOL
    latents, scales = walked(whole, levels, symbols)
    assert len(np.unique(scales)) > 5, "the scales do not depend on anything"
    assert shape != (6, 4, 4) or exact.FILLING in scales, "no symbol is 0 for certain"
    for row, level in enumerate(levels):
        expected = walked_by_hand(whole.values, level, symbols[row], sum(step.half == 0 for step in whole.passes))
        assert (latents[row] == expected[0]).all()
        assert (scales[row] == expected[1]).all()


def test_batches_order_and_threads_do_not_matter(whole):
    levels = np.arange(7) * 40
    symbols = residuals(7, 6, 5, 9)
    expected = walked(whole, levels, symbols)
    order = np.random.default_rng(0).permutation(7)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for parts in ([[row] for row in range(7)], [order[:3], order[3:]]):
                for part in parts:
                    for own, other in zip(walked(whole, levels[part], symbols[part]), expected, strict=True):
                        assert (own == other[part]).all()
    finally:
        torch.set_num_threads(threads)


def test_large_pictures_are_evaluated_part_by_part(whole, monkeypatch):
    symbols = residuals(2, 6, 9, 7)
    expected = walked(whole, np.array([10, 200]), symbols)
    monkeypatch.setattr(exact, "_POSITIONS", 20)
    for own, other in zip(walked(whole, np.array([10, 200]), symbols), expected, strict=True):
        assert (own == other).all()


def test_the_float_prior_says_about_the_same():
    made = random_prior()
    whole = exact.Integer.of(made)
    symbols = residuals(4, 6, 4, 4)
    levels = np.array([90, 130, 180, 255])
    latents, scales = walked(whole, levels, symbols)
    shares = prior.mixture(exact.qualities(levels))
    with torch.no_grad():
        bits, _ = made(torch.from_numpy(latents / 16).float(), shares, lambda residual: (residual, residual))
        again, _ = whole.floats()(torch.from_numpy(latents / 16).float(), shares, lambda residual: (residual, residual))
    # Half a step of the scales is a twelfth of an octave; the tables add escapes and counts of at least one.
    expected = torch.from_numpy(whole.bits(symbols, scales).sum(axis=(1, 2, 3))).float()
    assert torch.allclose(bits, expected, rtol=0.02)
    assert torch.allclose(bits, again, rtol=1e-3)


def test_information_is_that_of_the_normal_distribution():
    from scipy.stats import norm

    residual, octaves = torch.tensor([0.0, 1.0, -2.0, 5.0]), torch.tensor([0.0, 2.0, 5.0, 4.0])
    scale = prior.FINEST * 2.0 ** octaves.double().numpy()
    expected = norm.cdf(residual.numpy() + 0.5, scale=scale) - norm.cdf(residual.numpy() - 0.5, scale=scale)
    assert np.allclose(prior.information(residual, octaves).numpy(), -np.log2(expected), rtol=1e-4, atol=1e-5)


def test_tables_cost_what_the_normal_distribution_does():
    tables = exact.gaussian_tables()
    for index, low in enumerate(tables.lows.tolist()):
        table = tables[index : index + 1]
        values = torch.arange(low, 1 - low, dtype=torch.float64)
        ideal = prior.information(values, torch.tensor(index / exact.PER_OCTAVE, dtype=torch.float64)).numpy()
        shares = 2.0**-ideal
        own = 16 - np.log2(table.frequencies[:-1])
        assert low == 1 - len(table.frequencies) // 2
        assert (shares * (own - ideal)).sum() < 0.003 + 0.005 * (shares * ideal).sum()  # of bits


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("shape", [(1, 6, 4, 4), (3, 6, 1, 1), (2, 6, 9, 15), (1, 6, 16, 8)])
def test_streams_come_back_and_have_shannons_length(whole, shape, few, monkeypatch):
    monkeypatch.setattr(lanes, "FEW", few)
    levels = np.full(shape[0], 130)
    symbols = residuals(*shape, spread=2)
    symbols[0, 0, 0, 0], symbols[-1, 5, 0, 0] = 5000, -exact.SYMBOL
    latents, scales = walked(whole, levels, symbols)
    payloads = lanes.write(whole, symbols, scales)
    reader = lanes.Reader(whole, payloads, shape[2] * shape[3])
    assert (whole.walk(levels, *shape[2:], lambda own, means, scales: reader.read(scales)) == latents).all()
    ideal = whole.bits(symbols, scales).sum(axis=(1, 2, 3)) / 8
    count = lanes.lanes(shape[2] * shape[3])
    for payload, length in zip(payloads, ideal, strict=True):
        own = len(payload) - (count * 2 if count > 1 else 0)
        # A third of a byte on average and never more than one and a bit at the end of each lane; lengths of 1 or 2.
        assert -count - 1 < own - length < 1.5 * count


def test_one_lane_is_no_longer_than_its_symbols_say(whole):
    symbols = residuals(40, 6, 4, 4)
    levels = np.full(40, 255)
    _, scales = walked(whole, levels, symbols)
    lengths = np.array([len(payload) for payload in lanes.write(whole, symbols, scales)])
    waste = lengths - whole.bits(symbols, scales).sum(axis=(1, 2, 3)) / 8
    assert -0.1 < waste.mean() < 0.6


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.sampled_from([(2, 2), (9, 9)]))
def test_any_bytes_are_symbols_or_a_value_error_whichever_way_lanes_are_read(whole, payloads, size):
    found = []
    for few in (0, 1000):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ValueError):
            patch.setattr(lanes, "FEW", few)
            reader = lanes.Reader(whole, payloads, size[0] * size[1])
            levels = np.full(len(payloads), 77)
            found.append(whole.walk(levels, *size, lambda own, means, scales, reader=reader: reader.read(scales)))
    assert len(found) in (0, 2)
    for latents in found:
        assert (latents == found[0]).all()
        assert np.abs(latents).max() < 1 << 24


def test_numbers_that_float64_would_round_are_refused(whole):
    changed = {**whole.values, "inner.0.weight": whole.values["inner.0.weight"] * (1 << 30)}
    with pytest.raises(ValueError, match=r"expected sums below 2\*\*52 in inner.0, got up to"):
        replace(whole, values=changed)
    with pytest.raises(ValueError, match="expected units from 1 to 1048576"):
        replace(whole, values={**whole.values, "units": whole.values["units"] * 0})
    with pytest.raises(ValueError, match="expected 64 symmetric tables, got 63"):
        replace(whole, tables=whole.tables[1:])
    with pytest.raises(ValueError, match="expected 64 symmetric tables"):
        replace(whole, tables=entropy.Tables(whole.tables.lows + 1, whole.tables.counts, whole.tables.frequencies))
    for groups in ([], [2, 0]):
        with pytest.raises(ValueError, match="expected one or more groups of at least one channel, got"):
            prior.Prior(groups, 5)


def test_rounding_kinds():
    residual = torch.linspace(-3, 3, 61, requires_grad=True)
    charged, kept = prior.hard(residual)
    assert torch.equal(kept.detach(), residual.detach().round())
    charged.sum().backward()
    assert torch.equal(residual.grad, torch.ones(61))
    generator = torch.Generator().manual_seed(0)
    charged, kept = prior.noisy(generator)(residual)
    assert 0.2 < (charged - residual).abs().max() <= 0.5
    assert torch.equal(kept.detach(), residual.detach().round())
    soft, _ = prior.annealed(0.02, generator)(residual.detach())
    clear = (residual - residual.round()).abs() < 0.4
    assert torch.allclose(soft[clear], residual.detach().round()[clear], atol=1e-3)


def test_a_scale_below_the_floor_can_still_rise():
    octaves = torch.tensor([-2.0, -2.0], requires_grad=True)
    bits = prior.information(torch.tensor([1.2, 0.0]), prior._Floor.apply(octaves))
    bits.sum().backward()
    assert octaves.grad[0] < 0 == octaves.grad[1]
    assert math.isclose(float(bits[1].detach()), 0, abs_tol=1e-4)
