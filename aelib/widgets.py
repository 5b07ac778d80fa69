"""The slider: a pure, cached `render`, and thin wiring around it."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from aelib import data, metrics, models, plots, zoo
from aelib import images as im

ERROR_GAIN = 4
ZOOM = 3
_LABELS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "conv": "convolutional", "dense": "fully connected"}


@dataclass(frozen=True)
class View:
    """What the explorer shows for one choice.

    Attributes
    ----------
    png : bytes
        Rows of originals, reconstructions and absolute errors, one pixel of the data set per pixel.
    alt : str
        The picture in words.
    caption : str
        The figures in words.
    """

    png: bytes
    alt: str
    caption: str


@lru_cache
def originals(dataset: str, first: int, count: int) -> Tensor:
    """Return test images `first` to `first + count - 1`, uint8 (count, C, H, W), from the bundled sample.

    The sample is the beginning of the test set, so the pictures are the same with and without a download.
    """
    images = data.load(dataset, "test", source="sample").images
    if not (count >= 1 and 0 <= first <= len(images) - count):
        raise ValueError(f"expected 1 or more of the {len(images)} bundled images, got {count} from number {first}")
    return images[first : first + count]


@lru_cache(maxsize=512)
def render(dataset: str, architecture: str, latent_dim: int, first: int = 0, count: int = 8) -> View:
    """Send `count` test images from number `first` through a pretrained model.

    Parameters
    ----------
    dataset, architecture, latent_dim
        Name the weights, as in `aelib.zoo.model_name`.
    first, count : int
        Which of the bundled test images.

    Raises
    ------
    ValueError
        There are no such weights or images.
    """
    name = zoo.model_name(dataset, architecture, latent_dim)
    reference = originals(dataset, first, count)
    restored = models.reconstruct(zoo.load_cached(name), reference)
    error = ((restored.int() - reference.int()).abs() * ERROR_GAIN).clamp(max=255).to(torch.uint8)
    png = im.write_picture(im.tile(torch.cat([reference, restored, error]), columns=count), "PNG")
    shown_psnr, shown_ssim = (float(measure(reference, restored).mean()) for measure in (metrics.psnr, metrics.ssim))
    facts = zoo.card(name)
    values = facts.channels * facts.size**2
    title = f"{_LABELS[dataset]}, {_LABELS[architecture]} autoencoder, K = {latent_dim}"
    caption = (
        f"{title}: {values:,} values through {latent_dim} numbers, {values / latent_dim:,.0f} to 1 in count.\n"
        f"These {count} images: PSNR {shown_psnr:.2f} dB, SSIM {shown_ssim:.3f}. "
        f"All {facts.test['images']:,} test images: PSNR {facts.test['mean_psnr']:.2f} dB, "
        f"SSIM {facts.test['ssim']:.3f}; PCA with K = {latent_dim}: {facts.pca_mean_psnr:.2f} dB."
    )
    alt = f"{title}: {count} originals above their reconstructions and absolute errors times {ERROR_GAIN}"
    return View(png, alt, caption)


def strip(dataset: str, architecture: str, first: int = 0, count: int = 8) -> bytes:
    """Return a PNG of the originals and of their reconstructions at every shipped size, labelled."""
    reference = originals(dataset, first, count)
    rows = {"original": reference}
    for size in zoo.sizes(dataset, architecture):
        name = zoo.model_name(dataset, architecture, size)
        restored = models.reconstruct(zoo.load_cached(name), reference)
        rows[f"K = {size}\n{float(metrics.psnr(reference, restored).mean()):.2f} dB"] = restored
    return plots.to_png(plots.picture_rows(rows, zoom=0.8)[0])


class BottleneckExplorer(ipywidgets.VBox):
    """A slider that swaps between the pretrained bottleneck sizes.

    Parameters
    ----------
    dataset, architecture : str
        What to show first.
    count : int
        Images per row.

    Attributes
    ----------
    dataset, architecture : ipywidgets.ToggleButtons
    size : ipywidgets.SelectionSlider
        Over the sizes K that exist for the choice; assigning to `size.value` swaps the picture.
    first : ipywidgets.BoundedIntText
        Number of the first test image.
    picture, caption : ipywidgets.HTML
    """

    def __init__(self, dataset: str = "cifar10", architecture: str = "conv", count: int = 8) -> None:
        for what, got, known in (
            ("data set", dataset, tuple(data.CLASSES)),
            ("architecture", architecture, tuple(models.ARCHITECTURES)),
        ):
            if got not in known:
                raise ValueError(f"expected a {what} out of {known}, got {got!r}")
        self._count = count
        self.dataset = ipywidgets.ToggleButtons(options=_choices(data.CLASSES), value=dataset, description="Data")
        self.architecture = ipywidgets.ToggleButtons(
            options=_choices(models.ARCHITECTURES), value=architecture, description="Network"
        )
        self.size = ipywidgets.SelectionSlider(
            options=zoo.sizes(dataset, architecture),
            value=zoo.sizes(dataset, architecture)[0],
            description="K",
            continuous_update=True,
            layout={"width": "560px"},
        )
        last = len(data.load(dataset, "test", source="sample")) - count
        self.first = ipywidgets.BoundedIntText(0, 0, last, description="Image", layout={"width": "160px"})
        self.picture = ipywidgets.HTML(layout={"height": "300px"})
        self.caption = ipywidgets.HTML(layout={"height": "80px"})
        self.dataset.observe(self._offer_sizes, "value")
        self.architecture.observe(self._offer_sizes, "value")
        self.size.observe(self._show, "value")
        self.first.observe(self._show, "value")
        controls = ipywidgets.VBox([ipywidgets.HBox([self.dataset, self.first]), self.architecture, self.size])
        super().__init__([controls, self.picture, self.caption])
        self._show()

    def _offer_sizes(self, _change: object = None) -> None:
        """Offer the sizes of the new choice, and keep the nearest to the old one, in one message to the page."""
        sizes = zoo.sizes(self.dataset.value, self.architecture.value)
        nearest = min(sizes, key=lambda size: abs(size - self.size.value))
        self.size.unobserve(self._show, "value")
        self.size.options = sizes
        self.size.value = nearest
        self.size.observe(self._show, "value")
        self._show()

    def _show(self, _change: object = None) -> None:
        view = render(self.dataset.value, self.architecture.value, self.size.value, self.first.value, self._count)
        source = base64.b64encode(view.png).decode()
        width = ZOOM * data.SHAPES[self.dataset.value][1] * self._count
        self.picture.value = (
            f'<img alt="{html.escape(view.alt)}" src="data:image/png;base64,{source}" '
            f'style="image-rendering:pixelated;width:{width}px">'
        )
        self.caption.value = "<br>".join(html.escape(line) for line in view.caption.split("\n"))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add a picture of all sizes for readers without a kernel, GitHub among them."""
        bundle = super()._repr_mimebundle_(**kwargs)
        formats = bundle[0] if isinstance(bundle, tuple) else bundle
        if formats is not None:
            formats["image/png"] = strip(self.dataset.value, self.architecture.value, self.first.value, self._count)
        return bundle


def _choices(names: Any) -> list[tuple[str, str]]:
    return [(_LABELS[name], name) for name in names if name in _LABELS]
