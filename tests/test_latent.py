import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from aelib import latent, metrics
from aelib.images import to_float, to_uint8


@pytest.fixture(scope="module")
def fitted(digits):
    return latent.fit_image_pca(digits[:400], 16)


@pytest.fixture(scope="module")
def blobs():
    """Three far groups of 40 codes in eight dimensions, and their labels."""
    labels = torch.arange(120) % 3
    spread = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    return 20 * torch.eye(8)[labels] + spread, labels


def test_image_pca_is_that_of_scikit_learn(fitted, digits):
    oracle = PCA(16, svd_solver="full").fit(to_float(digits[:400]).flatten(1).double().numpy())
    np.testing.assert_allclose(fitted.mean, oracle.mean_, atol=1e-6)
    test = digits[500:600]
    for size in (1, 5, 16):
        kept = oracle.components_[:size]
        centred = to_float(test).flatten(1).double().numpy() - oracle.mean_
        expected = to_uint8(torch.from_numpy(centred @ kept.T @ kept + oracle.mean_)).reshape(test.shape)
        # float32 against float64: a value at the edge between two grey levels may turn over.
        difference = (fitted.reconstruct(test, size).int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 1e-3


def test_components_are_orthonormal(fitted):
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(16), atol=1e-5)


def test_no_components_give_the_mean_image(fitted, digits):
    mean = to_uint8(digits[:400].double().mean(dim=0, keepdim=True) / 255)
    restored = fitted.reconstruct(digits[:2], 0)
    assert (restored.int() - mean.int()).abs().max() <= 1
    assert torch.equal(restored[0], restored[1])


def test_all_components_are_near_exact(noise):
    images = noise(200, 3, 4, 8)
    restored = latent.fit_image_pca(images, 96).reconstruct(images, 96)
    assert (restored.int() - images.int()).abs().max() <= 1


def test_more_components_are_better_and_the_best_of_all_projections(fitted, digits):
    images = digits[:400]
    quality = [float(metrics.mse(images, fitted.reconstruct(images, size)).mean()) for size in range(17)]
    assert quality == sorted(set(quality), reverse=True)
    basis, _ = torch.linalg.qr(torch.randn(784, 16, generator=torch.Generator().manual_seed(1)))
    other = latent.ImagePca(fitted.mean, basis.T, fitted.shape)
    assert quality[16] < float(metrics.mse(images, other.reconstruct(images, 16)).mean())


def test_image_pca_refuses_sizes_and_other_images(fitted, digits, photographs):
    for size in (0, 785):
        with pytest.raises(ValueError, match=f"latent_dim from 1 to 784, got {size}"):
            latent.fit_image_pca(digits, size)
    with pytest.raises(ValueError, match="latent_dim from 1 to 5, got 6"):
        latent.fit_image_pca(digits[:5], 6)
    for size in (-1, 17):
        with pytest.raises(ValueError, match=f"latent_dim from 0 to 16, got {size}"):
            fitted.reconstruct(digits[:2], size)
    with pytest.raises(ValueError, match="expected 1 channels, got 3"):
        fitted.reconstruct(photographs[:2], 4)


def test_projection_and_explained_variance_by_the_covariance(blobs):
    codes, _ = blobs
    values, vectors = np.linalg.eigh(np.cov(codes.double().numpy().T))
    points, explained = latent.project_pca(codes, 3)
    np.testing.assert_allclose(explained, values[::-1][:3] / values.sum(), rtol=1e-4)
    centred = codes.double().numpy() - codes.double().numpy().mean(axis=0)
    # The sign of a component is free.
    np.testing.assert_allclose(np.abs(points.numpy()), np.abs(centred @ vectors[:, ::-1][:, :3]), atol=1e-3)
    assert latent.project_pca(codes, 8)[1].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("dimensions", "latent_dim"), [(2, 8), (3, 8), (3, 2)])
def test_tsne_is_repeatable_and_keeps_groups_together(dimensions, latent_dim, blobs):
    codes, labels = blobs[0][:, :latent_dim], blobs[1]
    first = latent.project_tsne(codes, dimensions, perplexity=10)
    assert first.shape == (120, dimensions)
    assert first.dtype == torch.float32
    assert torch.equal(latent.project_tsne(codes, dimensions, perplexity=10), first)
    assert latent.neighbour_accuracy(first[::2], labels[::2], first[1::2], labels[1::2], neighbours=5) > 0.8


def test_tsne_refuses_what_it_cannot_draw(blobs):
    codes, _ = blobs
    with pytest.raises(ValueError, match="2 or 3 dimensions, got 4"):
        latent.project_tsne(codes, 4)
    with pytest.raises(ValueError, match="between 0 and the 20 codes, got 30"):
        latent.project_tsne(codes[:20])


def test_neighbours_find_separable_classes_and_nothing_else(blobs):
    codes, labels = blobs
    halves = codes[::2], labels[::2], codes[1::2], labels[1::2]
    assert latent.neighbour_accuracy(*halves) == 1
    assert latent.neighbour_accuracy(codes[::2], labels[::2], codes[1::2], (labels[1::2] + 1) % 3) == 0
    shuffled = labels[::2][torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    # Chance is 1/3; 0.06 is the standard deviation of 60 guesses, but neighbours guess alike.
    assert 0 < latent.neighbour_accuracy(codes[::2], shuffled, codes[1::2], labels[1::2], neighbours=1) < 0.6


def test_one_neighbour_votes_alone():
    codes = torch.tensor([[0.0], [1.0], [1.2]])
    labels = torch.tensor([0, 1, 1])
    near_zero, truth = torch.tensor([[0.1]]), torch.tensor([0])
    assert latent.neighbour_accuracy(codes, labels, near_zero, truth, neighbours=1) == 1
    assert latent.neighbour_accuracy(codes, labels, near_zero, truth, neighbours=3) == 0
    with pytest.raises(ValueError, match="from 1 to 3 neighbours, got 4"):
        latent.neighbour_accuracy(codes, labels, near_zero, truth, neighbours=4)


def test_a_single_test_code_is_enough(blobs):
    codes, labels = blobs
    assert latent.neighbour_accuracy(codes[1:], labels[1:], codes[:1], labels[:1]) == 1


def test_interpolation_is_a_straight_line():
    start, end = torch.tensor([0.0, 4.0]), torch.tensor([3.0, -2.0])
    line = latent.interpolate(start, end, 4)
    np.testing.assert_allclose(line, [[0, 4], [1, 2], [2, 0], [3, -2]], atol=1e-6)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        latent.interpolate(start, end, 1)
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
        latent.interpolate(start, end[:1], 4)


@pytest.mark.parametrize(
    ("codes", "dimensions", "message"),
    [
        (torch.zeros(4), 1, r"shape \(N, K\), N >= 2, got torch.float32 \(4,\)"),
        (torch.zeros(1, 4), 1, r"got torch.float32 \(1, 4\)"),
        (torch.zeros(4, 4, dtype=torch.int64), 1, "got torch.int64"),
        (torch.zeros(4, 4), 5, "from 1 to 4 dimensions, got 5"),
        (torch.zeros(4, 4), 0, "from 1 to 4 dimensions, got 0"),
    ],
)
def test_projections_refuse_other_codes(codes, dimensions, message):
    with pytest.raises(ValueError, match=message):
        latent.project_pca(codes, dimensions)
