import pytest
import torch
from torch import nn

from aelib import data, metrics, models, recipes, zoo
from aelib.images import to_float, to_uint8


def count(model):
    return sum(p.numel() for p in model.parameters())


def reference(latent_dim, channels, size):
    """The published network, written out; encoder and decoder in one."""
    side = size // 4
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * side * side, latent_dim),
        nn.Linear(latent_dim, 32 * side * side),
        nn.ReLU(),
        nn.Unflatten(1, (32, side, side)),
        nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, channels, 3, stride=2, padding=1, output_padding=1),
        nn.Sigmoid(),
    )


def test_conv_has_the_parameters_of_the_seed_network():
    assert count(models.ConvAutoencoder(128)) == 536_611


@pytest.mark.parametrize(("latent_dim", "channels", "size"), [(128, 3, 32), (7, 1, 28)])
def test_conv_is_the_reference_network(latent_dim, channels, size, noise):
    model = models.build("conv", latent_dim, channels=channels, size=size, seed=3).eval()
    plain = reference(latent_dim, channels, size)
    assert [repr(layer) for layer in [*model.encoder, *model.decoder]] == [repr(layer) for layer in plain[:-1]]
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = to_float(noise(5, channels, size, size))
    with torch.inference_mode():
        assert torch.equal(model(x), plain(x))
        assert torch.equal(model.encode(x), plain[:6](x))
        assert torch.equal(model.decode_logits(model.encode(x)), plain[:-1](x))
        assert torch.equal(model.decode(model.encode(x)), plain(x))


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize(("channels", "size", "latent_dim"), [(1, 28, 2), (3, 32, 16), (3, 8, 300)])
def test_shapes(architecture, channels, size, latent_dim, noise):
    model = models.build(architecture, latent_dim, channels=channels, size=size)
    images = noise(3, channels, size, size)
    latents = models.codes(model, images, batch_size=2)
    assert latents.shape == (3, latent_dim)
    assert latents.dtype == torch.float32
    pictures = models.pictures(model, latents, batch_size=2)
    assert pictures.shape == images.shape
    assert pictures.dtype == torch.uint8
    assert torch.equal(models.reconstruct(model, images, batch_size=2), pictures)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_images_in_a_batch_do_not_touch_each_other(architecture, noise):
    model, images = models.build(architecture, 8), noise(5, 3, 32, 32)
    with torch.inference_mode():
        alone = to_uint8(model(to_float(images[3:4])))
    # Another batch size may sum in another order; one grey level is the most that can turn over.
    assert (models.reconstruct(model, images)[3:4].int() - alone.int()).abs().max() <= 1


@pytest.mark.parametrize("name", [name for name in recipes.all_names() if "dense" in name])
def test_dense_is_comparable_with_conv(name):
    dataset, _, size = name.split("-")
    channels, side, _ = data.SHAPES[dataset]
    dense, conv = (models.build(kind, int(size), channels=channels, size=side) for kind in ("dense", "conv"))
    hidden = dense.encoder[1].out_features
    ratio = count(dense) / count(conv)
    assert hidden >= int(size), "the hidden layer would be the true bottleneck"
    assert 0.95 < ratio < 1.05 or (hidden == int(size) and 1 < ratio < 1.7)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_build_depends_on_the_seed_alone(architecture):
    def weights(seed):
        return torch.cat(
            [p.flatten() for p in models.build(architecture, 4, channels=1, size=8, seed=seed).parameters()]
        )

    before = torch.random.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random numbers were touched"
    torch.rand(1)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latent_dim": 0}, "latent_dim >= 1, got 0"),
        ({"latent_dim": 4, "channels": 2}, "channels 1 or 3, got 2"),
        ({"latent_dim": 4, "size": 30}, "multiple of 4, got 30"),
        ({"latent_dim": 4, "size": 0}, "multiple of 4, got 0"),
    ],
)
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_build_refuses_bad_sizes(architecture, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(architecture, **arguments)


def test_build_refuses_unknown_architectures():
    with pytest.raises(ValueError, match=r"expected an architecture out of .*conv.*dense.*, got 'resnet'"):
        models.build("resnet", 4)


def test_networks_refuse_other_inputs(noise):
    model = models.build("conv", 4)
    with pytest.raises(TypeError, match=r"expected images .* got torch\.uint8"):
        model(noise(1, 3, 32, 32))
    for shape in [(1, 1, 32, 32), (1, 3, 28, 28), (3, 32, 32), (0, 3, 32, 32)]:
        with pytest.raises(ValueError, match=r"expected images of shape \(N, 3, 32, 32\), got"):
            model(torch.zeros(shape))
    for shape in [(1, 5), (4,), (0, 4), (1, 4, 1)]:
        with pytest.raises(ValueError, match=r"expected latents of shape \(N, 4\), got"):
            model.decode(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"expected latents as a tensor of torch\.float32, got torch\.int64"):
        model.decode(torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"expected images .* got torch\.float64"):
        model(torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def test_codes_refuse_other_images(noise):
    model = models.build("conv", 4)
    with pytest.raises(TypeError, match=r"got torch\.float32"):
        models.codes(model, torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="expected 3 channels, got 1"):
        models.codes(model, noise(1, 1, 32, 32))
    with pytest.raises(ValueError, match="expected images of 32x32 pixels, got 28x32"):
        models.reconstruct(model, noise(1, 3, 28, 32))


@pytest.mark.parametrize("name", ["cifar10-conv-64", "mnist-conv-8"])
def test_refined_latents_come_nearer_to_every_image(name, photographs, digits):
    model, images = zoo.load(name), (photographs if name.startswith("cifar10") else digits)[:12]
    latents = models.refined(model, images, steps=10, batch_size=5)
    assert latents.shape == (12, model.latent_dim)
    before = metrics.mse(images, models.reconstruct(model, images))
    assert (metrics.mse(images, models.pictures(model, latents)) < before).all()
    assert all(value.requires_grad and value.grad is None for value in model.parameters()), "the model stays as it is"
    assert torch.allclose(models.refined(model, images, steps=10), latents, atol=1e-3)
    assert torch.allclose(models.refined(model, images[:1], steps=10), latents[:1], atol=1e-3)
    assert torch.equal(models.refined(model, images, steps=0), models.codes(model, images))
