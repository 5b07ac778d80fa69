import importlib.util
import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from aelib import benchmark, codecs, curves, data, models, quantise, zoo


@pytest.fixture(scope="module")
def images():
    return data.load("cifar10", "test", source="sample").images[:30]


@pytest.fixture(scope="module")
def autoencoder(images):
    model = models.build("conv", 8).eval()
    return codecs.Autoencoder(model, quantise.fit(model, images, probes=30))


def test_the_numbers_of_jpeg_are_those_of_pillow_and_scikit_image(images):
    point = benchmark.measure(codecs.Jpeg(60, "4:2:0"), images)
    rates, errors, similarities = [], [], []
    for image in images.permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=60, subsampling="4:2:0", optimize=True)
        other = np.asarray(Image.open(buffer))
        rates.append(8 * len(buffer.getvalue()) / 1024)
        errors.append(np.mean((other / 255 - image / 255) ** 2))
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        similarities.append(structural_similarity(image / 255, other / 255, channel_axis=2, **options))
    assert point.rate_file.mean == pytest.approx(np.mean(rates))
    assert point.rate_file.deviation == pytest.approx(np.std(rates))
    assert point.mse.mean == pytest.approx(np.mean(errors))
    assert point.psnr.mean == pytest.approx(np.mean(-10 * np.log10(errors)))
    assert point.pooled_psnr == pytest.approx(-10 * np.log10(np.mean(errors)))
    assert point.ssim.mean == pytest.approx(np.mean(similarities))
    assert (point.images, point.height, point.width) == (30, 32, 32)


def test_the_shared_header_rate_is_the_payload_and_one_byte(images, autoencoder):
    for codec in (autoencoder, codecs.Jpeg(50), codecs.WebP(50)):
        streams = codec.encode(images)
        expected = np.mean([8 * (len(codec.payload(stream)) + 1) / 1024 for stream in streams])
        assert benchmark.measure(codec, images).rate_shared.mean == pytest.approx(expected)


def test_a_mosaic_is_one_file_of_all_images(images):
    codec = codecs.Jpeg(50)
    point = benchmark.measure(codec, images, mosaic=True)
    picture = torch.zeros(3, 6 * 32, 5 * 32, dtype=torch.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, 5)
        picture[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = image
    (stream,) = codec.encode(picture[None])
    assert point.rate_mosaic == pytest.approx(8 * len(stream) / (30 * 1024))
    assert point.rate_mosaic < point.rate_shared.mean < point.rate_file.mean


def test_an_autoencoders_mosaic_has_one_header_and_a_length_per_image(images, autoencoder):
    point = benchmark.measure(autoencoder, images, mosaic=True)
    payloads = [len(autoencoder.payload(stream)) for stream in autoencoder.encode(images)]
    assert max(payloads) < 128
    assert point.rate_mosaic == pytest.approx(8 * (8 + sum(payloads) + 30) / (30 * 1024))
    assert point.psnr_mosaic == pytest.approx(point.psnr.mean)


def test_a_mosaic_of_one_image_is_its_file_and_none_is_measured_unasked(images):
    point = benchmark.measure(codecs.Jpeg(50), images[:1], mosaic=True)
    assert point.rate_mosaic == point.rate_file.mean
    assert point.psnr_mosaic == point.psnr.mean
    assert benchmark.measure(codecs.Jpeg(50), images[:1]).rate_mosaic is None


def test_a_trained_autoencoders_mosaic_has_one_header_before_payloads_that_differ(images):
    codec = zoo.load_codec("cifar10-conv-16")
    payloads = [codec.payload(stream) for stream in codec.encode(images)]
    assert len(set(payloads)) == len(images)
    expected = 8 * (8 + sum(map(len, payloads)) + 30) / (30 * 1024)
    assert benchmark.measure(codec, images, mosaic=True).rate_mosaic == pytest.approx(expected)

    class Half(codecs.Autoencoder):
        def payload(self, stream):
            return super().payload(stream)[::2]

    with pytest.raises(AssertionError, match="the payloads in one file are not those of the single streams"):
        benchmark.measure(Half(codec.model, codec.quantiser), images, mosaic=True)


def test_batches_count_together_and_seconds_are_those_of_an_image(images, monkeypatch):
    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    clock = Clock()

    class Slow(codecs.Jpeg):
        def encode(self, images):
            clock.now += 2
            return super().encode(images)

        def decode(self, streams, **options):
            clock.now += 3
            return super().decode(streams, **options)

    whole = benchmark.measure(codecs.Jpeg(50), images)
    monkeypatch.setattr(benchmark, "time", clock)
    point = benchmark.measure(Slow(50), images, batch_size=10)
    assert (point.encode_seconds, point.decode_seconds) == pytest.approx((3 * 2 / 30, 3 * 3 / 30))
    assert point.rate_file == whole.rate_file
    assert point.psnr == whole.psnr


def test_lossless_codecs_have_no_psnr(images):
    point = benchmark.measure(codecs.Png(), images[:3])
    assert (point.mse.mean, point.psnr, point.pooled_psnr, point.ssim.mean) == (0, None, None, pytest.approx(1))


def test_an_image_without_error_among_others_counts_as_one_level_in_one_value(images):
    class NearlyLossless(codecs.Png):
        def decode(self, streams, **options):
            restored = super().decode(streams, **options)
            restored[0] ^= 1
            return restored

    point = benchmark.measure(NearlyLossless(), images[:2], mosaic=False)
    one_level = 10 * np.log10(255**2)
    assert point.psnr.mean == pytest.approx((one_level + one_level + 10 * np.log10(3 * 32 * 32)) / 2)
    assert point.pooled_psnr == pytest.approx(one_level + 10 * np.log10(2))


def test_images_of_any_size_are_measured_and_small_ones_have_no_ssim(noise):
    assert benchmark.measure(codecs.Jpeg(50), noise(2, 3, 40, 24)).ssim is not None
    large = noise(1, 1, 1, 1).expand(1, 1, 1025, 1024)  # above what is decoded unasked
    assert benchmark.measure(codecs.Png(), large, mosaic=True).mse.mean == 0
    assert benchmark.measure(codecs.Jpeg(50), noise(2, 1, 7, 40)).ssim is None
    assert benchmark.measure(codecs.Jpeg(50), noise(2, 1, 11, 40)).ssim is not None


def test_points_survive_json(tmp_path, images):
    points = [benchmark.measure(codec, images, mosaic=True) for codec in (codecs.Jpeg(50), codecs.Png())]
    benchmark.write(tmp_path / "new" / "points.json", points, {"dataset": "cifar10"})
    assert benchmark.read(tmp_path / "new" / "points.json") == (points, {"schema": 1, "dataset": "cifar10"})
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["points.json"]
    lines = (tmp_path / "new" / "points.json").read_text().splitlines()
    assert lines[:3] == ["{", ' "schema": 1,', ' "dataset": "cifar10",'], "a line a value, so that changes can be read"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema": 2, "points": []}', '{"schema": 1, "points": [{"codec": "JPEG"}]}', "[" * 200_000],
    ids=range(6),
)
def test_other_json_is_refused_by_name(tmp_path, content):
    file = tmp_path / "points.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"expected results of schema 1 in .*points\.json, got"):
        benchmark.read(file)


@pytest.mark.parametrize(
    "change",
    [
        {"rate_file": 5},
        {"rate_file": {"mean": 0, "deviation": 0}},
        {"codec": None},
        {"images": "many"},
        {"psnr": {"mean": "x", "deviation": 1}},
        {"mse": None},
        3,
    ],
)
def test_results_of_other_types_are_refused(change, tmp_path, images):
    file = tmp_path / "points.json"
    benchmark.write(file, [benchmark.measure(codecs.Jpeg(50), images)], {})
    content = json.loads(file.read_text())
    content["points"] = [content["points"][0] | change if isinstance(change, dict) else change]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"expected results of schema 1 in .*points\.json, got"):
        benchmark.read(file)


def test_results_of_another_schema_are_refused_by_its_number(tmp_path):
    (tmp_path / "points.json").write_text('{"schema": 2, "points": []}')
    with pytest.raises(ValueError, match=r"got ValueError\('schema 2'\)$"):
        benchmark.read(tmp_path / "points.json")


def test_results_without_a_point_are_refused(tmp_path):
    (tmp_path / "points.json").write_text('{"schema": 1, "points": []}')
    with pytest.raises(ValueError, match=r"got ValueError\('no points'\)$"):
        benchmark.read(tmp_path / "points.json")


def test_curves_rise_with_rate_and_leave_out_what_has_no_psnr(images):
    points = [
        benchmark.measure(codec, images[:5], mosaic=True) for codec in (codecs.Jpeg(80), codecs.Png(), codecs.Jpeg(20))
    ]
    for accounting in benchmark.ACCOUNTINGS:
        curve = benchmark.curve(points, accounting)
        assert curve == sorted(curve)
        assert len(curve) == 2
    assert benchmark.curve(points)[0] == (points[2].rate_shared.mean, points[2].psnr.mean)
    assert benchmark.curve(points, "shared") == benchmark.curve(points)
    assert benchmark.curve(points, "file")[0] == (points[2].rate_file.mean, points[2].psnr.mean)
    assert benchmark.curve(points, "mosaic")[0] == (points[2].rate_mosaic, points[2].psnr_mosaic)
    assert benchmark.curve([replace(points[0], rate_mosaic=None)], "mosaic") == []
    with pytest.raises(ValueError, match="expected an accounting out of"):
        benchmark.curve(points, "free")


def test_half_the_rate_is_minus_fifty_per_cent():
    anchor = [(rate, 20 + 6 * np.log2(rate)) for rate in (1.0, 2.0, 3.0, 4.0, 8.0)]
    other = [(rate / 2, quality) for rate, quality in anchor]
    delta = curves.bjontegaard_delta(anchor, other)
    assert delta.rate == pytest.approx(-50)
    assert delta.psnr == pytest.approx(6)
    assert (delta.low, delta.high) == (pytest.approx(20), pytest.approx(38))
    assert (delta.low_rate, delta.high_rate) == pytest.approx((1, 4))
    narrow = curves.bjontegaard_delta(anchor, other, low=25, high=40)
    assert (narrow.low, narrow.high, narrow.rate) == (pytest.approx(25), pytest.approx(38), pytest.approx(-50))


def test_curves_without_a_common_rate_have_no_difference_in_quality():
    points = [(1.0, 20.0), (2.0, 24.0), (3.0, 26.0), (4.0, 28.0)]
    delta = curves.bjontegaard_delta(points, [(rate / 8, quality) for rate, quality in points])
    assert delta.rate == pytest.approx(-87.5)
    assert np.isnan(delta.psnr)


def test_curves_that_cannot_be_compared_are_refused():
    points = [(1.0, 20.0), (2.0, 24.0), (3.0, 26.0), (4.0, 28.0)]
    with pytest.raises(ValueError, match="expected at least 4 points a curve from 25 to inf dB, got 3"):
        curves.bjontegaard_delta(points, points, low=25)
    with pytest.raises(ValueError, match=r"expected curves that overlap in quality, got an overlap from 30\.00 to 28"):
        curves.bjontegaard_delta(points, [(rate, psnr + 10) for rate, psnr in points])


def test_the_hull_is_above_every_point_and_made_of_points():
    rng = np.random.default_rng(0)
    points = [(float(rate), float(10 * np.log2(1 + rate) + rng.normal())) for rate in rng.uniform(0, 5, 60)]
    hull = curves.convex_hull(points)
    assert set(hull) <= set(points)
    rates, quality = np.array(hull).T
    assert (np.diff(rates) > 0).all()
    assert (np.diff(np.diff(quality) / np.diff(rates)) < 0).all()
    for rate, value in points:
        assert value <= np.interp(rate, rates, quality) + 1e-9


@pytest.mark.parametrize(
    ("points", "hull"),
    [
        ([(1.0, 20.0), (1.0, 22.0), (2.0, 24.0)], [(1.0, 22.0), (2.0, 24.0)]),  # of one rate the best alone
        ([(1.0, 20.0), (2.0, 22.0), (3.0, 24.0)], [(1.0, 20.0), (3.0, 24.0)]),  # what lies on a line adds nothing
        ([(2.0, 20.0), (1.0, 20.0)], [(1.0, 20.0)]),
    ],
)
def test_the_hull_of_ties(points, hull):
    assert curves.convex_hull(points) == hull


def test_an_autoencoder_stream_says_what_it_is_and_refuses_what_it_is_not(images, autoencoder):
    (stream,) = autoencoder.encode(images[:1])
    assert stream[:3] == b"AE\x01"
    assert stream[5:8] == bytes([32, 32, 7])
    cases = {
        "expected a header of 8 bytes, got a stream of 3": stream[:3],
        "expected a stream of b'AE' version 1, got b'PN' version 1": b"PN" + stream[2:],
        "expected a stream of b'AE' version 1, got b'AE' version 2": b"AE\x02" + stream[3:],
        "got one of model": stream[:3] + bytes([stream[3] ^ 1]) + stream[4:],
        "expected images of 32x32, got 32x28": stream[:6] + b"\x1c" + stream[7:],
        "expected a whole quality from 0 to 7, got 9": stream[:7] + b"\x09" + stream[8:],
        "expected at most 54 bytes for 8 symbols, got 1000": stream[:8] + bytes(1000),
    }
    for message, broken in cases.items():
        with pytest.raises(ValueError, match=message):
            autoencoder.decode([broken])
    with pytest.raises(ValueError, match="expected one or more streams, got none"):
        autoencoder.decode([])


def test_autoencoder_streams_of_all_qualities_decode_together_to_the_models_own_pictures(images, autoencoder):
    streams, expected = [], []
    latents = models.codes(autoencoder.model, images)
    for quality in quantise.QUALITIES:
        streams += replace(autoencoder, quality=quality).encode(images)
        symbols = autoencoder.quantiser.symbols(latents, quality)
        expected.append(models.pictures(autoencoder.model, autoencoder.quantiser.latents(symbols, quality)))
    order = torch.randperm(len(streams), generator=torch.Generator().manual_seed(0))
    decoded = autoencoder.decode([streams[index] for index in order])
    assert torch.equal(decoded, torch.cat(expected)[order])


def test_results_are_json_that_other_programs_read(tmp_path, images):
    benchmark.write(tmp_path / "points.json", [benchmark.measure(codecs.Png(), images[:2])], {})
    json.loads((tmp_path / "points.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "results" / "schema.json").read_text(encoding="utf-8"))
ABOUT = {"dataset": "cifar10", "series": "x", "data_sha256": "0", "versions": {"aelib": "0"}, "hardware": "x"}


COMMITTED = sorted(file for name in data.CLASSES for file in (ROOT / "results").glob(f"{name}-*.json"))


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_results_keep_the_schema_and_are_of_the_full_test_sets(file):
    content = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validate(content, SCHEMA)
    assert content["data_sha256"] == data.SHA256[content["dataset"]]["x_test"]
    assert {point["images"] for point in content["points"]} == {10_000}


def test_what_the_ruler_writes_is_what_the_schema_says(tmp_path, images, autoencoder):
    points = [
        benchmark.measure(codec, images[:3], mosaic=True) for codec in (codecs.Png(), codecs.Jpeg(9), autoencoder)
    ]
    benchmark.write(tmp_path / "points.json", points, ABOUT)
    written = json.loads((tmp_path / "points.json").read_text())
    jsonschema.validate(written, SCHEMA)
    written["points"][0]["rate_file"]["mean"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, SCHEMA)


def test_hulls_join_the_series_of_a_codec_and_all_autoencoders(images):
    def point(rate, psnr):
        spread = benchmark.Spread(rate, 0.0)
        return replace(base, rate_file=spread, rate_shared=spread, rate_mosaic=rate, psnr=benchmark.Spread(psnr, 0.0))

    base = benchmark.measure(codecs.Jpeg(50), images[:2])
    results = {
        "jpeg-444": [point(1.0, 20.0), point(3.0, 30.0)],
        "jpeg-420-flat": [point(2.0, 27.0), point(2.5, 26.0)],
        "jpeg2000": [point(1.0, 19.0)],
        "lossless": [point(9.0, 50.0)],
        "conv-2": [point(0.5, 15.0)],
        "dense-4": [point(1.0, 18.0), point(2.0, 18.0)],
    }
    hulls = benchmark.hulls(results)
    assert hulls == {
        "JPEG": [(1.0, 20.0), (2.0, 27.0), (3.0, 30.0)],
        "JPEG 2000": [(1.0, 19.0)],
        "autoencoder": [(0.5, 15.0), (1.0, 18.0)],
    }
    assert curves.psnr_at(hulls["JPEG"], 1.5) == pytest.approx(23.5)
    assert curves.psnr_at(hulls["JPEG"], 0.99) is None
    assert curves.psnr_at(hulls["JPEG"], hulls["JPEG"][0][0]) == hulls["JPEG"][0][1]
    assert curves.psnr_at(hulls["autoencoder"], 7.0) == 18.0


def test_hulls_are_of_the_accounting_that_was_asked_for(images):
    points = [benchmark.measure(codecs.Jpeg(quality), images[:5], mosaic=True) for quality in (20, 80)]
    for accounting in benchmark.ACCOUNTINGS:
        assert benchmark.hulls({"jpeg": points}, accounting) == {"JPEG": benchmark.curve(points, accounting)}
    assert len({benchmark.hulls({"jpeg": points}, name)["JPEG"][0] for name in benchmark.ACCOUNTINGS}) == 3


@pytest.mark.parametrize(
    ("series", "codec"),
    [
        ("jpeg-420-flat", "JPEG"),
        ("residual-64", "autoencoder"),
        ("learned", "learned codec"),
        ("learned-slow", "learned codec, slow"),
    ],
)
def test_a_series_counts_for_a_codec(series, codec):
    assert benchmark.codec_of(series) == codec


def test_a_folder_of_results_is_read_by_series(tmp_path, images):
    points = [benchmark.measure(codecs.Png(), images[:2])]
    for name in ("cifar10-conv-2", "cifar10-lossless", "mnist-lossless"):
        benchmark.write(tmp_path / f"{name}.json", points, {})
    assert benchmark.read_folder(tmp_path, "cifar10") == {"conv-2": points, "lossless": points}
    with pytest.raises(ValueError, match=r"expected results of cifar100 in .*, got none"):
        benchmark.read_folder(tmp_path, "cifar100")


@pytest.mark.full_data
@pytest.mark.parametrize(
    ("dataset", "series", "index"),
    [
        ("mnist", "jpeg", 4),
        ("mnist", "conv-16", 2),
        ("cifar10", "webp", 3),
        ("cifar10", "conv-64", 7),
        ("cifar10", "learned", 4),
    ],
)
def test_committed_results_are_measured_again(dataset, series, index):
    found = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    results = importlib.util.module_from_spec(found)
    found.loader.exec_module(results)
    made = results.everything(dataset)[series][index]()
    again = asdict(benchmark.measure(made, data.load(dataset, "test").images, mosaic=True))
    stored = asdict(benchmark.read_folder(ROOT / "results", dataset)[series][index])
    for timed in ("encode_seconds", "decode_seconds"):
        del again[timed], stored[timed]
    # Another processor may turn a symbol over now and then: a thousandth of the spread between images is far more.
    for key, value in stored.items():
        if isinstance(value, dict):
            assert again[key]["mean"] == pytest.approx(value["mean"], abs=1e-3 * value["deviation"])
        elif isinstance(value, float):
            assert again[key] == pytest.approx(value, rel=1e-4)
        else:
            assert again[key] == value
