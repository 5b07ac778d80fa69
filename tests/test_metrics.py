import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from aelib import metrics
from aelib.images import to_uint8

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
SHAPES = [(4, 1, 28, 28), (4, 3, 32, 32), (3, 1, 11, 17), (2, 3, 40, 13)]


@pytest.fixture(params=SHAPES, ids=str)
def pair(request, noise):
    """Images with structure, and a noisy version of them."""
    n, c, h, w = request.param
    rows, columns = torch.linspace(0, 3, h)[:, None], torch.linspace(0, 5, w)[None, :]
    phases = torch.arange(n * c).reshape(n, c, 1, 1)
    clean = (torch.sin(rows + phases) + torch.cos(columns * (1 + phases % 3))) / 4 + 0.5
    return to_uint8(clean), to_uint8(clean + (noise(n, c, h, w) / 255 - 0.5) / 4)


def scaled(images):
    """For scikit-image: float64 on the [0, 1] scale, channels last."""
    return [image.permute(1, 2, 0).double().numpy() / 255 for image in images]


def test_mse_is_that_of_scikit_image(pair):
    expected = [mean_squared_error(a, b) for a, b in zip(*map(scaled, pair), strict=True)]
    # Both sum float64 products; only the order of summation differs.
    np.testing.assert_allclose(metrics.mse(*pair), expected, rtol=1e-12)


def test_psnr_is_that_of_scikit_image(pair):
    expected = [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(*map(scaled, pair), strict=True)]
    np.testing.assert_allclose(metrics.psnr(*pair), expected, rtol=1e-12)


def test_ssim_is_that_of_scikit_image(pair):
    expected = [structural_similarity(a, b, channel_axis=2, **WANG) for a, b in zip(*map(scaled, pair), strict=True)]
    # Variances are differences of squares near 1, so float64 rounding of 1e-16 grows by the constant c2 of 9e-4.
    np.testing.assert_allclose(metrics.ssim(*pair), expected, rtol=0, atol=1e-11)


def test_ssim_of_many_images_is_that_of_each(noise):
    first, second = noise(1003, 1, 11, 12), noise(1003, 1, 11, 12, seed=1)
    together = metrics.ssim(first, second)
    assert together.shape == (1003,)
    for index in (0, 999, 1000, 1002):
        alone = metrics.ssim(first[index : index + 1], second[index : index + 1])
        assert float(together[index]) == pytest.approx(float(alone), abs=1e-12)


def test_equal_images(noise):
    images = noise(2, 3, 16, 16)
    assert metrics.mse(images, images).tolist() == [0, 0]
    assert metrics.psnr(images, images).tolist() == [float("inf")] * 2
    np.testing.assert_allclose(metrics.ssim(images, images), 1, rtol=1e-12)


def test_uint8_arithmetic_would_wrap_round():
    first, second = np.array([0, 200], np.uint8), np.array([255, 100], np.uint8)
    assert ((first - second) ** 2).mean() == 8.5
    a, b = (torch.from_numpy(array).reshape(1, 1, 1, 2) for array in (first, second))
    assert float(metrics.mse(a, b)) == pytest.approx(37_512.5 / 255**2, rel=1e-12)


def test_mean_psnr_lies_above_pooled_psnr():
    # Ten pixels each, with mean squared errors of 10, 100 and 1000 grey levels squared.
    errors = [[10] + [0] * 9, [10] * 10, [100] + [0] * 9]
    other = torch.tensor(errors, dtype=torch.uint8).reshape(3, 1, 2, 5)
    black = torch.zeros_like(other)
    assert float(metrics.psnr(black, other).mean()) == pytest.approx(28.13, abs=0.005)
    assert metrics.pooled_psnr(black, other) == pytest.approx(22.45, abs=0.005)


def test_bits_per_pixel_counts_every_byte_once_per_position():
    rates = metrics.bits_per_pixel([bytes(98), b""], 28, 28)
    assert rates.tolist() == [1.0, 0.0]


def test_the_compression_ratio_is_that_of_the_bytes(noise):
    images = noise(1, 3, 8, 10)
    (rate,) = metrics.bits_per_pixel([bytes(60)], 8, 10).tolist()
    assert metrics.compression_ratio(rate, 3) == pytest.approx(images.numel() / 60)


@pytest.mark.parametrize("stream", ["text", 3.0, torch.zeros(4), bytearray(2)])
def test_only_bytes_have_a_rate(stream):
    with pytest.raises(TypeError, match=f"expected streams of bytes, got {type(stream).__name__}"):
        metrics.bits_per_pixel([stream], 4, 4)


def test_bits_per_pixel_are_those_of_doubles():
    """In single precision the mean of many rates would drift."""
    rates = metrics.bits_per_pixel([b"x"], 3, 1)
    assert rates.dtype == torch.float64
    assert rates.tolist() == [8 / 3]


def test_all_other_types_are_named():
    with pytest.raises(TypeError, match="expected streams of bytes, got float, str; floats have no rate"):
        metrics.bits_per_pixel(["text", 3.0, b"x"], 4, 4)


@pytest.mark.parametrize(("height", "width"), [(0, 4), (4, 0), (-1, -1)])
def test_bits_per_pixel_refuses_a_size_without_pixels(height, width):
    with pytest.raises(ValueError, match=f"got {height} and {width}"):
        metrics.bits_per_pixel([b"x"], height, width)


def test_one_pixel_has_a_rate_and_no_stream_has_none():
    assert metrics.bits_per_pixel([b"x"], 1, 1).tolist() == [8.0]
    with pytest.raises(ValueError, match=r"^expected one or more streams, got none$"):
        metrics.bits_per_pixel([], 4, 4)


@pytest.mark.parametrize("measure", [metrics.mse, metrics.psnr, metrics.pooled_psnr, metrics.ssim])
def test_measures_refuse_other_dtypes_and_shapes(measure, noise):
    images = noise(2, 3, 16, 16)
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        measure(images, images / 255)
    with pytest.raises(ValueError, match=r"got \(2, 3, 16, 16\) and \(1, 3, 16, 16\)"):
        measure(images, images[:1])
    with pytest.raises(ValueError, match=r"got \(0, 3, 16, 16\)"):
        measure(images[:0], images[:0])


def test_ssim_refuses_images_smaller_than_its_window(noise):
    with pytest.raises(ValueError, match=r"at least 11x11 pixels, got \(1, 1, 10, 40\)"):
        metrics.ssim(noise(1, 1, 10, 40), noise(1, 1, 10, 40))
