"""The learned codec with small networks and weights that are barely trained: streams, searches, training, weights."""

import contextlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aelib import codecs, exact, learned, metrics, prior, search, train_codec, train_rate, zoo
from aelib import images as im

SMALL = learned.Design(widths=(8, 12), blocks=(1, 1), groups=(1, 1, 2, 4, 8), hidden=12)
QUICK = train_rate.Settings(steps=12, batch_size=4, hard=0.25)


def model_of(design=SMALL, seed=0):
    """A model near a random orthogonal transform, residual branches and context networks included."""
    torch.manual_seed(seed)
    model = learned.Model(design)
    layers = (
        [layer for layer in part if isinstance(layer, torch.nn.Conv2d)] for part in (model.encoder, model.decoder)
    )
    with torch.no_grad():
        for there, back in zip(next(layers), reversed(next(layers)), strict=True):
            torch.nn.init.orthogonal_(there.weight)
            back.weight.copy_(there.weight.transpose(0, 1))
            there.bias.zero_()
            back.bias.zero_()
        for value in model.parameters():
            value += 0.02 * torch.randn_like(value)
    return model


@pytest.fixture(scope="module")
def codec(photographs):
    return codecs.Learned.of(model_of(), photographs[:20])


@pytest.fixture(scope="module")
def some(photographs):
    return photographs[:7]


def test_a_started_model_is_an_orthogonal_transform(photographs):
    design = learned.Design(widths=(12, 48), blocks=(1, 1), groups=(12, 12, 12, 12), hidden=4)
    model, x = learned.Model(design), im.to_float(photographs[:4])
    model.start(photographs)
    shares = prior.mixture(torch.full((4,), 2.7))
    y = model.analyse(x, shares)
    assert torch.allclose(model.synthesise(y, shares), x, atol=1e-5)
    gains = 2 ** prior.mixed(shares, model.gain)
    assert torch.allclose(
        (y / gains).diff(dim=0).square().sum((1, 2, 3)), x.diff(dim=0).square().sum((1, 2, 3)), rtol=1e-4
    )


def test_a_started_model_is_pca_of_blocks(photographs):
    design = learned.Design(widths=(12, 48), blocks=(1, 1), groups=(1, 1, 2, 4), hidden=4)
    model, x = learned.Model(design), im.to_float(photographs)
    model.start(photographs)
    shares = prior.mixture(torch.full((len(x),), 2.7))
    with torch.no_grad():
        y = model.analyse(x, shares)
        error = (model.synthesise(y, shares) - x).square().mean()
    blocks = torch.nn.functional.pixel_unshuffle(x, 4).permute(0, 2, 3, 1).flatten(0, 2).double()
    variances = torch.linalg.eigvalsh(torch.cov(blocks.T))  # rising
    assert float(error) == pytest.approx(float(variances[:-8].sum()) / 48, rel=0.02)
    found = (y / 2 ** prior.mixed(shares, model.gain)).var(dim=(0, 2, 3))
    assert found.tolist() == pytest.approx(variances.flip(0)[:8].tolist(), rel=0.05), "by falling variance"


def test_a_model_starts_with_the_transforms_of_another_that_expects_other_groups(photographs):
    other, model = model_of(), learned.Model(replace(SMALL, groups=(4, 4, 4, 4)))
    model.start(photographs, other=other.state_dict())
    shares = prior.mixture(torch.full((5,), 4.0))
    x = im.to_float(photographs[:5])
    assert torch.equal(model.analyse(x, shares), other.analyse(x, shares))
    y = model.analyse(im.to_float(photographs), prior.mixture(torch.full((len(photographs),), 4.0)))
    assert torch.allclose(y.std(dim=(0, 2, 3)), model.prior.units[4].exp2(), rtol=1e-3)
    same = learned.Model(SMALL)
    same.start(photographs, other=other.state_dict())
    for name, value in other.state_dict().items():
        assert torch.equal(same.state_dict()[name], value)


def test_a_state_at_other_prices_does_the_same_for_the_same_price():
    had, wanted = learned.DESIGNS["mnist"], replace(learned.DESIGNS["mnist"], low=1e-5, high=2e-2)
    model = learned.Model(had)
    with torch.no_grad():
        model.gain += torch.arange(8.0)[:, None] * torch.rand(model.gain.shape[1])
        model.prior.biases[1] += torch.rand(model.prior.biases[1].shape)
    other = learned.repriced(model.state_dict(), had, wanted)
    for level in range(8):
        price = wanted.price(torch.tensor(float(level)))
        shares = prior.mixture(7 * (price / had.low).log()[None] / math.log(had.high / had.low))
        assert had.price((shares * torch.arange(8)).sum()) == pytest.approx(float(price), rel=1e-4)
        for name in ("gain", "prior.biases.1"):
            assert torch.allclose(
                other[name][level], prior.mixed(shares, model.state_dict()[name]).flatten(), atol=1e-5
            )
    assert torch.equal(other["encoder.1.weight"], model.state_dict()["encoder.1.weight"])
    same = learned.repriced(model.state_dict(), had, had)
    assert all(torch.allclose(value, model.state_dict()[name], atol=1e-5) for name, value in same.items())


def test_a_model_is_not_started_on_other_images(digits):
    with pytest.raises(ValueError, match="channels"):
        learned.Model(SMALL).start(digits)


def multiplications(model, part, x):
    """Multiply-accumulates of the convolutions of a part of the model, for images x."""
    counts = []

    def count(layer, inputs, output):
        counts.append(layer.weight.numel() * output.shape[2] * output.shape[3])

    for layer in getattr(model, part).modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    model(x, prior.mixture(torch.tensor([3.0])), prior.hard)
    return sum(counts)


def test_the_networks_are_as_large_as_they_may_be():
    """At most 30 million multiplications to decode an image of CIFAR-10, 40 with the prior, and 8 MB on disk."""
    for design in learned.DESIGNS.values():
        model, x = learned.Model(design), torch.rand(1, design.channels, 32, 32)  # digits are padded to 32x32
        decoder = multiplications(model, "decoder", x)
        assert decoder < 30e6
        assert decoder + multiplications(model, "prior", x) < 40e6
        tensors = exact.Integer.of(model.prior).tensors().values()
        on_disk = sum(value.nelement() * value.element_size() for value in tensors)
        assert on_disk + sum(2 * value.numel() for value in model.decoder.parameters()) < 8e6


@pytest.mark.parametrize("effort", codecs.learned.EFFORTS)
@pytest.mark.parametrize("quality", [0, 2.6, 7])
def test_the_decoder_gets_the_encoders_own_latents(codec, some, quality, effort):
    own = replace(codec, quality=quality, effort=effort)
    found = own.quantise(some)
    streams = own.encode(some)
    assert (codec.latents(streams) == found.latents).all()
    ideal = codec.prior.bits(found.symbols, found.scales).sum(axis=(1, 2, 3)) / 8
    lengths = np.array([len(own.payload(stream)) for stream in streams])
    assert lengths == pytest.approx(np.array([len(stream) - 8 for stream in streams]))
    assert (np.abs(lengths - ideal) < 1.5).all()
    assert codec.decode(streams).shape == some.shape


def test_batches_order_threads_and_precision_do_not_change_the_latents(codec, some):
    streams = codec.encode(some)
    expected, pictures = codec.latents(streams), codec.decode(streams).int()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0)).tolist()
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for batch in (1, 3, 7):
                for at in range(0, 7, batch):
                    rows = order[at : at + batch]
                    assert (codec.latents([streams[row] for row in rows]) == expected[rows]).all()
                    # Another order of summation may carry a value over the middle between two.
                    assert (codec.decode([streams[row] for row in rows]).int() - pictures[rows]).abs().max() <= 1
    finally:
        torch.set_num_threads(threads)
    coarse = codecs.Learned.from_tensors(codec.tensors(), SMALL)
    coarse.model.autocast = True
    assert (coarse.latents(streams) == expected).all()
    assert 0 < (coarse.decode(streams).int() - pictures).abs().max() < 16  # 1 in 256, some layers deep


def test_the_float_prior_charges_what_the_streams_cost(codec, some):
    for quality in (1.0, 5.5):
        own = replace(codec, quality=quality)
        bits, _ = codec.model(im.to_float(some), prior.mixture(torch.full((7,), quality)), prior.hard)
        lengths = np.array([8 * len(own.payload(stream)) for stream in own.encode(some)])
        assert np.allclose(lengths, bits.numpy(), rtol=0.02, atol=8)


def test_all_qualities_decode_together(codec, some):
    streams = [replace(codec, quality=row).encode(some[row : row + 1])[0] for row in range(7)]
    together = codec.decode(streams)
    for row, stream in enumerate(streams):
        assert (together[row].int() - codec.decode([stream])[0].int()).abs().max() <= 1
    lengths = [len(replace(codec, quality=quality).encode(some[:1])[0]) for quality in (0, 3, 3.5, 7)]
    assert lengths == sorted(lengths)
    with pytest.raises(ValueError, match=r"expected pictures of one size, got sizes \[\(8, 8\), \(32, 32\)\]"):
        codec.decode([streams[0], codec.encode(some[:1, :, :8, :8])[0]])


@pytest.mark.parametrize("size", [(1, 1), (33, 17), (64, 64), (4, 70)])
def test_pictures_of_any_size(codec, photographs, size):
    picture = im.tile(photographs[:9], 3)[None, :, : size[0], : size[1]]
    streams = codec.encode(picture)
    restored = codec.decode(streams)
    assert restored.shape == picture.shape
    height, width = (-(-side // 4) * 4 for side in size)
    rows, columns = torch.arange(height).clamp(max=size[0] - 1), torch.arange(width).clamp(max=size[1] - 1)
    assert codec.payload(codec.encode(picture[:, :, rows][:, :, :, columns])[0]) == codec.payload(streams[0])


@pytest.mark.parametrize("size", [(1, 4096), (4096, 1), (3, 2049)])
def test_the_longest_sides_come_back(codec, noise, size):
    picture = noise(1, 3, *size)
    (stream,) = codec.encode(picture)
    restored = codec.decode([stream])
    assert restored.shape == picture.shape
    assert float(metrics.psnr(picture, restored)) > float(metrics.psnr(picture, picture.flip(1))) + 1


def test_many_tiny_pictures_are_coded_some_at_a_time(codec, noise, monkeypatch):
    monkeypatch.setattr(codecs.learned, "_BATCH", 4 * 16)  # pixels of four pictures, filled up to 4x4
    seen = []
    whole = codecs.Learned.quantise
    monkeypatch.setattr(codecs.Learned, "quantise", lambda self, x: seen.append(len(x)) or whole(self, x))
    streams = codec.encode(noise(10, 3, 1, 1))
    assert seen == [4, 4, 2]
    assert codec.decode(streams).shape == (10, 3, 1, 1)


def test_strips_change_nothing_but_the_order_of_sums(codec, photographs, monkeypatch):
    picture = im.tile(photographs[:20], 2)[None]
    found, streams = codec.quantise(picture), codec.encode(picture)
    restored = codec.decode(streams).int()
    monkeypatch.setattr(im, "STRIP", 16 * 7)
    again = codec.quantise(picture)
    assert (again.symbols != found.symbols).mean() < 0.001
    assert (codec.decode(streams).int() - restored).abs().max() <= 1


@pytest.mark.parametrize("quality", [0.5, 4])
def test_searching_longer_costs_less(codec, some, quality):
    price = SMALL.price(torch.tensor(quality))
    costs = []
    for effort in codecs.learned.EFFORTS:
        own = replace(codec, quality=quality, effort=effort)
        streams = own.encode(some)
        bits = torch.tensor([8.0 * len(own.payload(stream)) for stream in streams])
        costs.append(search.costs(im.to_float(some), im.to_float(codec.decode(streams)), bits, price).mean())
    default, slow, best = costs
    assert best < slow <= default + 1e-3  # a thousandth of a bit: streams end at whole bytes


def test_broken_streams_are_named(codec, some):
    (stream,) = codec.encode(some[:1])
    for broken, message in [
        (b"", "expected a header of 8 bytes, got a stream of 0"),
        (stream[:7], "expected a header of 8 bytes, got a stream of 7"),
        (b"X" + stream[1:], "expected a stream of b'L' version 1, got b'X' version 1"),
        (stream[:1] + b"\x02" + stream[2:], "expected a stream of b'L' version 1, got b'L' version 2"),
        (stream[:2] + bytes([stream[2] ^ 1]) + stream[3:], "expected a stream of model .*, got one of model"),
        (stream[:4] + b"\xff\xff\xff" + stream[7:], "expected from 1 to 65536 pixels, got 4096x4096"),
        (stream + bytes(5000), r"expected at most \d+ bytes for 64 places, got \d+"),
    ]:
        with pytest.raises(ValueError, match=message):
            codec.decode([broken])
    (long,) = codec.encode(some[:1].repeat(1, 1, 2, 2))
    for broken in (long[:-1], long + b"x", long[:8]):
        with pytest.raises(ValueError, match="streams"):
            codec.decode([broken])
    with pytest.raises(ValueError, match="expected from 1 to 1023 pixels, got 32x32"):
        codec.decode([stream], max_pixels=1023)
    with pytest.raises(ValueError, match="expected one or more streams, got none"):
        codec.decode([])


@given(data=st.data())
def test_damaged_and_truncated_streams_give_a_picture_or_a_value_error(codec, some, data):
    broken = bytearray(codec.encode(some[:1, :, :8, :12])[0])
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    with contextlib.suppress(ValueError):
        assert codec.decode([bytes(broken[:cut])], max_pixels=4096).dtype == torch.uint8


def test_what_the_codec_does_not_take_is_named(codec, some):
    with pytest.raises(ValueError, match="expected 3 channels, got 1"):
        codec.encode(some[:, :1])
    with pytest.raises(TypeError, match=r"expected images of dtype torch.uint8, got torch.float32"):
        codec.encode(im.to_float(some))
    with pytest.raises(ValueError, match="expected at most 4096 rows and columns, got 1 and 4097"):
        codec.encode(torch.zeros(1, 3, 1, 4097, dtype=torch.uint8))
    for quality in (-0.1, 7.5, math.nan, "5"):
        with pytest.raises(ValueError, match="expected a quality from 0 to 7, got"):
            replace(codec, quality=quality)
    with pytest.raises(ValueError, match=r"expected an effort out of \('default', 'slow', 'best'\), got 'fast'"):
        replace(codec, effort="fast")
    assert replace(codec, quality=2.5, effort="slow").name == "learned q2.5 slow"


# --- training


def test_training_lowers_the_loss_of_all_qualities(photographs):
    model = learned.Model(SMALL)
    before = [train_rate.evaluate(model, photographs[:50], quality) for quality in (0.0, 7.0)]
    settings = train_rate.Settings(steps=60, batch_size=8, learning_rate=3e-3)
    lines = []
    looks = train_rate.fit(
        model,
        photographs[50:],
        photographs[:50],
        settings,
        device="cpu",
        every=30,
        progress=lambda x: lines.append(str(x)),
    )
    after = [train_rate.evaluate(model, photographs[:50], quality) for quality in (0.0, 7.0)]
    assert [look.step for look in looks] == [30, 60]
    assert looks[-1].mean_psnr[3] == pytest.approx(after[1][1])
    assert all("q0 " in line and "bpp" in line and "dB" in line for line in lines)
    for quality, (rate, psnr), (old_rate, old_psnr) in zip((0.0, 7.0), after, before, strict=True):
        price = float(SMALL.price(torch.tensor(quality)))
        assert rate + price * 255**2 * 10 ** (-psnr / 10) < old_rate + price * 255**2 * 10 ** (-old_psnr / 10)


def test_the_encoder_rests_while_rounding_is_true(photographs):
    model = learned.Model(SMALL)
    settings = replace(QUICK, hard=1.0, warmup=0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_rate.fit(model, photographs[:20], photographs[:5], settings, device="cpu")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name.startswith("encoder") or name == "gain"), name


@pytest.mark.parametrize("stop", [4, 8])  # before and after the switch to true rounding
def test_a_resumed_run_ends_with_the_same_bits(photographs, tmp_path, stop):
    images, validation = photographs[:40], photographs[40:50]
    arguments = {"device": "cpu", "every": 4}
    settings = replace(QUICK, hard=0.5 if stop == 8 else 0.25)
    torch.manual_seed(0)
    whole = learned.Model(SMALL)
    torch.manual_seed(0)
    broken = learned.Model(SMALL)
    looks = train_rate.fit(whole, images, validation, settings, **arguments)
    file, seen = tmp_path / "model.pt", []
    while (
        train_rate.fit(
            broken, images, validation, settings, **arguments, checkpoint=file, minutes=0, progress=seen.append
        )
        is None
    ):
        if seen[-1].step == stop:
            broken = model_of(seed=5)
    assert seen == looks
    for name, value in whole.state_dict().items():
        assert torch.equal(value, broken.state_dict()[name]), name
    with pytest.raises(ValueError, match="expected a checkpoint of the same settings and images"):
        train_rate.fit(broken, validation, validation, settings, **arguments, checkpoint=file)


def test_a_loss_that_is_not_finite_stops_the_training(photographs):
    model = learned.Model(SMALL)
    with torch.no_grad():
        model.gain.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="expected a finite loss, got"):
        train_rate.fit(model, photographs[:20], photographs[:5], QUICK, device="cpu")


# --- weights


def test_the_command_writes_a_codec_that_the_zoo_loads(monkeypatch, tmp_path, samples, capsys):
    monkeypatch.setitem(learned.DESIGNS, "mnist", replace(SMALL, channels=1))
    places = ["--runs", str(tmp_path / "runs"), "--folder", str(tmp_path), "--source", "sample", "--device", "cpu"]
    arguments = ["mnist", "--steps", "6", "--batch", "4", "--every", "3", *places]
    assert train_codec.main([*arguments, "--minutes", "0"]) == 0
    assert "run the command again to go on" in capsys.readouterr().out
    assert train_codec.main(arguments) == 0
    assert "mnist-learned  step       6" in capsys.readouterr().out
    facts = json.loads((tmp_path / "mnist-learned.json").read_text())
    assert facts["recipe"]["began_with"] is None
    begin = ["--begin", str(tmp_path / "runs" / "mnist-learned.pt"), "--folder", str(tmp_path / "second")]
    assert train_codec.main([*arguments, "--runs", str(tmp_path / "others"), *begin]) == 0
    second = json.loads((tmp_path / "second" / "mnist-learned.json").read_text())
    assert second["recipe"]["began_with"]["step"] == 6
    assert train_codec.main([*arguments, "--begin", str(tmp_path / "mnist-learned.json")]) == 1
    assert "expected a checkpoint of aelib.train_codec in" in capsys.readouterr().err
    assert train_codec.main([*arguments, "--runs", str(tmp_path / "others")]) == 1, "it began with other weights"
    assert "began_with: expected , got" in capsys.readouterr().err
    assert facts["design"]["groups"] == [1, 1, 2, 4, 8]
    assert len(facts["history"]) == 2
    loaded = zoo.load_codec("mnist", quality=3.3, folder=tmp_path)
    assert loaded.quality == 3.3
    digits = samples["mnist", "test"].images[:3]
    assert loaded.decode(loaded.encode(digits)).shape == digits.shape
    again = codecs.Learned.from_tensors(loaded.tensors(), loaded.model.design, 3.3)
    assert again.encode(digits) == loaded.encode(digits)
    file = tmp_path / "mnist-learned.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"expected the learned codec of mnist in .*, got ValueError.*SHA-256"):
        zoo.load_codec("mnist", folder=tmp_path)


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected the learned codec of cifar10 in .*cifar10-learned.safetensors"):
        zoo.load_codec("cifar10", quality=2.5, folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cifar10", "--steps", "0"], "--steps: expected a whole number of at least 1, got '0'"),
        (["cifar10", "--source", "sample"], "--source sample are for trials"),
        (["cifar10", "--steps", "100"], "the default holds the shipped weights"),
        (["cifar10", "--learning-rate", "nan"], "--learning-rate wants a number above 0, got nan"),
        (["cifar10", "--learning-rate", "-1"], "--learning-rate wants a number above 0, got -1"),
        (["cifar10", "--minutes", "nan"], "--minutes wants a number of at least 0, got nan"),
        (["cifar10", "--seed", "-1"], "--seed wants a whole number from 0 to 999999, got -1"),
        (["imagenet"], "invalid choice"),
    ],
)
def test_commands_that_cannot_work_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        train_codec.main(arguments)
    assert message in capsys.readouterr().err
