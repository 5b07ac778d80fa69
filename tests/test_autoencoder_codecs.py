import contextlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from aelib import codecs, containers, data, metrics, models, quantise, zoo
from aelib.images import tile, untile

NAMES = ["mnist-conv-16", "cifar10-conv-64", "cifar10-residual-16"]

DECODE_ELSEWHERE = """
import pickle, sys, torch
from aelib import zoo
torch.set_num_threads(int(sys.argv[2]))
codec, batch = zoo.load_codec(sys.argv[1]), int(sys.argv[3])
streams = pickle.load(sys.stdin.buffer)
parts = [codec.decode(streams[at : at + batch]) for at in range(0, len(streams), batch)]
pickle.dump(torch.cat(parts).numpy(), sys.stdout.buffer)
"""


def decoded_elsewhere(name, streams, threads, batch):
    import pickle

    command = [sys.executable, "-c", DECODE_ELSEWHERE, name, str(threads), str(batch)]
    run = subprocess.run(command, input=pickle.dumps(streams), capture_output=True, check=True)
    return torch.from_numpy(pickle.loads(run.stdout))


def own_reconstruction(codec, images):
    symbols = codec.quantiser.symbols(models.codes(codec.model, images), codec.quality)
    return models.pictures(codec.model, codec.quantiser.latents(symbols, codec.quality))


@pytest.mark.parametrize("name", NAMES)
def test_another_process_with_other_batches_and_threads_decodes_the_same_bits(name, samples):
    images = samples[name.split("-")[0], "test"].images[:300]
    codec = zoo.load_codec(name)
    streams = codec.encode(images)
    expected = own_reconstruction(codec, images)
    assert torch.equal(codec.decode(streams), expected)
    assert torch.equal(decoded_elsewhere(name, streams, threads=1, batch=7), expected)
    assert torch.equal(decoded_elsewhere(name, streams, threads=2, batch=256), expected)


@pytest.mark.full_data
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_test_set_decodes_elsewhere_to_the_same_bits(name):
    images = data.load(name.split("-")[0], "test").images
    codec = zoo.load_codec(name)
    streams = codec.encode(images)
    expected = own_reconstruction(codec, images)
    assert torch.equal(codec.decode(streams), expected)
    assert torch.equal(decoded_elsewhere(name, streams, threads=2, batch=333), expected)


@pytest.mark.parametrize("name", zoo.names())
def test_quantising_at_the_default_costs_at_most_a_tenth_of_a_decibel(name, samples):
    images = samples[name.split("-")[0], "test"].images
    codec = zoo.load_codec(name)
    floats = metrics.psnr(images, models.reconstruct(codec.model, images)).mean()
    coded = metrics.psnr(images, own_reconstruction(codec, images)).mean()
    assert float(floats - coded) <= 0.1


@pytest.fixture(scope="module")
def digits_codec():
    return zoo.load_codec("mnist-conv-16")


@pytest.fixture(scope="module")
def digits(samples):
    return samples["mnist", "test"].images[:100]


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 16, 32])
def test_fixed_length_streams_have_the_length_that_they_say(digits_codec, digits, bits):
    codec = codecs.FixedLength(digits_codec.model, digits_codec.quantiser, bits)
    streams = codec.encode(digits)
    assert {len(stream) for stream in streams} == {8 + -(-16 * bits // 8)}
    assert codec.decode(streams).shape == digits.shape


def test_float32_costs_nothing_and_fewer_bits_cost_more(digits_codec, digits):
    losses = []
    floats = models.reconstruct(digits_codec.model, digits)
    for bits in (32, 16, 8, 4, 2):
        codec = codecs.FixedLength(digits_codec.model, digits_codec.quantiser, bits)
        restored = codec.decode(codec.encode(digits))
        losses.append(float((metrics.psnr(digits, floats) - metrics.psnr(digits, restored)).mean()))
    assert losses[0] == 0
    assert losses[2:] == sorted(losses[2:])
    assert abs(losses[1]) < 0.01


def test_eight_bits_are_read_back_by_hand(digits_codec, digits):
    codec = codecs.FixedLength(digits_codec.model, digits_codec.quantiser, 8)
    table, step = digits_codec.quantiser.at(7)[3:4], digits_codec.quantiser.steps[3]
    low, high = table.lows[0] * step, (table.lows[0] + table.counts[0] - 2) * step
    latents = models.codes(digits_codec.model, digits)[:, 3].double()
    for stream, latent in zip(codec.encode(digits), latents.tolist(), strict=True):
        restored = low + stream[8 + 3] / 255 * (high - low)
        assert abs(restored - min(max(latent, low), high)) <= (high - low) / 510 * 1.0001


def test_streams_of_all_qualities_from_one_pass_are_those_of_each(digits_codec, digits):
    together = digits_codec.encode_at(digits[:5], quantise.QUALITIES)
    assert together == [replace(digits_codec, quality=quality).encode(digits[:5]) for quality in quantise.QUALITIES]
    mixed = [streams[0] for streams in together]
    apart = torch.cat([digits_codec.decode([stream]) for stream in mixed])
    assert torch.equal(digits_codec.decode(mixed), apart)


@pytest.mark.parametrize("bits", [0, 9, 64, 2.5, None])
def test_other_numbers_of_bits_are_named(digits_codec, bits):
    with pytest.raises(ValueError, match="expected 1 to 8, 16 or 32 bits per latent, got"):
        codecs.FixedLength(digits_codec.model, digits_codec.quantiser, bits)


def test_fixed_length_refuses_what_it_did_not_write(digits_codec, digits):
    codec = codecs.FixedLength(digits_codec.model, digits_codec.quantiser, 8)
    (stream,) = codec.encode(digits[:1])
    for broken in (b"", stream[:9], stream + b"x", replace(codec, bits=4).encode(digits[:1])[0]):
        with pytest.raises(ValueError, match="expected"):
            codec.decode([broken])
    with pytest.raises(ValueError, match="expected one or more streams, got none"):
        codec.decode([])


@given(st.binary(max_size=100), st.sampled_from([8, 16, 32]))
def test_any_payload_gives_a_picture_or_a_value_error(digits_codec, digits, payload, bits):
    for codec in (digits_codec, codecs.FixedLength(digits_codec.model, digits_codec.quantiser, bits)):
        (stream,) = codec.encode(digits[:1])
        try:
            picture = codec.decode([stream[:8] + payload])
        except ValueError:
            continue
        assert picture.shape == (1, 1, 28, 28)


@given(st.integers(0, 7), st.integers(0, 255))
def test_any_header_byte_gives_a_picture_or_a_value_error(digits_codec, digits, at, value):
    (stream,) = digits_codec.encode(digits[:1])
    try:
        picture = digits_codec.decode([stream[:at] + bytes([value]) + stream[at + 1 :]])
    except ValueError:
        return
    assert picture.shape == (1, 1, 28, 28)


def test_images_that_the_model_does_not_take_are_named(digits_codec, samples):
    for codec in (digits_codec, codecs.FixedLength(digits_codec.model, digits_codec.quantiser, 8)):
        with pytest.raises(ValueError, match="expected 1 channels, got 3"):
            codec.encode(samples["cifar10", "test"].images[:1])
        with pytest.raises(TypeError, match=r"expected images of dtype torch.uint8, got torch.float32"):
            codec.encode(torch.zeros(1, 1, 28, 28))


def test_a_codec_wants_the_quantiser_of_its_model(digits_codec):
    with pytest.raises(ValueError, match="expected a quantiser of 8 latents, got one of 16"):
        codecs.Autoencoder(models.build("conv", 8, channels=1, size=28), digits_codec.quantiser)
    with pytest.raises(ValueError, match="expected a whole quality from 0 to 7, got 8"):
        replace(digits_codec, quality=8)


def test_tables_survive_the_disk_and_damage_is_named(tmp_path, digits_codec):
    name = "mnist-conv-16"
    zoo.save(digits_codec.model, digits_codec.quantiser, zoo.card(name), folder=tmp_path)
    loaded = zoo.load_codec(name, folder=tmp_path).quantiser
    assert (loaded.steps == digits_codec.quantiser.steps).all()
    for part in ("lows", "counts", "frequencies"):
        assert (getattr(loaded.tables, part) == getattr(digits_codec.quantiser.tables, part)).all()
    file = tmp_path / f"{name}.tables.safetensors"
    stored = file.read_bytes()
    for broken in (stored[:-5], bytes([*stored[:-1], stored[-1] ^ 1]), b""):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"expected the steps and tables of mnist-conv-16 in .*, got SHA-256"):
            zoo.load_codec(name, folder=tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"expected the steps and tables of mnist-conv-16 in .*, got"):
        zoo.load_codec(name, folder=tmp_path)


@pytest.mark.parametrize("steps", [[0.0] * 16, [float("nan")] * 16, [-1.0] * 16])
def test_steps_that_cannot_be_divided_by_are_refused(digits_codec, steps):
    with pytest.raises(ValueError, match="expected finite steps above 0, got"):
        quantise.Quantiser(np.array(steps), digits_codec.quantiser.tables)


def test_other_tables_are_another_model(digits_codec, digits):
    tables = digits_codec.quantiser.tables
    moved = replace(tables, lows=tables.lows + 1)
    other = replace(digits_codec, quantiser=quantise.Quantiser(digits_codec.quantiser.steps, moved))
    with pytest.raises(ValueError, match=r"expected a stream of model .*, got one of model"):
        other.decode(digits_codec.encode(digits[:1]))


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (29, 28), (30, 75)])
def test_pictures_of_any_size_are_coded_by_blocks(digits_codec, noise, size):
    codec = codecs.Blocks(digits_codec)
    images = noise(2, 1, *size)
    streams = codec.encode(images)
    restored = codec.decode(streams)
    assert restored.shape == images.shape
    side, columns = digits_codec.model.size, -(-size[1] // digits_codec.model.size)
    for image, picture, stream in zip(images, restored, streams, strict=True):
        padded = F.pad(image[None].float(), (0, -size[1] % side, 0, -size[0] % side), mode="replicate").to(torch.uint8)
        blocks = untile(padded[0], (side, side))
        expected = tile(own_reconstruction(digits_codec, blocks), columns)[:, : size[0], : size[1]]
        assert torch.equal(picture, expected)
        payloads = [digits_codec.payload(one) for one in digits_codec.encode(blocks)]
        assert len(stream) == 14 + sum(len(payload) + 1 for payload in payloads)
        assert codec.payload(stream) == containers.join(payloads)


def test_blocks_refuse_what_they_did_not_write(digits_codec, noise):
    codec = codecs.Blocks(digits_codec)
    (stream,) = codec.encode(noise(1, 1, 30, 60))
    for broken, message in [
        (b"", "expected a header of 14 bytes, got a stream of 0"),
        (b"XX" + stream[2:], "expected a stream of b'AB', got b'XX'"),
        (stream[:-1], r"expected \d+ bytes in 6 streams, got \d+"),
        (stream + b"x", r"expected \d+ bytes in 6 streams, got \d+"),
        (stream[:14], "expected 6 streams, got 0 in 0 bytes"),
        (b"AB\xff\xff\xff\xff" + stream[6:], "expected from 1 to 1048576 pixels, got 65535x65535"),
        (b"AB\x00\x00\x00\x05" + stream[6:], "expected from 1 to 1048576 pixels, got 0x5"),
        (stream[:6] + b"AF" + stream[8:], "expected a stream of b'AE' version 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            codec.decode([broken])
    with pytest.raises(ValueError, match="expected from 1 to 1799 pixels, got 30x60"):
        codec.decode([stream], max_pixels=1799)
    with pytest.raises(ValueError, match=r"channels"):
        codec.encode(noise(1, 3, 30, 30))


@given(data=st.data())
def test_damaged_blocks_give_a_picture_or_a_value_error(digits_codec, digits, data):
    codec = codecs.Blocks(digits_codec)
    broken = bytearray(codec.encode(digits[:1])[0])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert codec.decode([bytes(broken)]).dtype == torch.uint8


@pytest.mark.parametrize("name", ["cifar10-conv-256", "mnist-conv-64"])
def test_the_largest_picture_in_blocks_decoded_unasked_needs_less_than_64_mib(name, noise, grown):
    codec = codecs.Blocks(zoo.load_codec(name))
    (stream,) = codec.encode(noise(1, codec.codec.model.channels, 1024, 1024))
    kib, said = grown(f"Blocks(zoo.load_codec({name!r}))", stream, codec.codec.model.channels)
    assert 0 < kib < 64 << 10
    assert "1024, 1024)" in said
