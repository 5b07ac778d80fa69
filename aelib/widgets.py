"""The slider: pure, cached functions that make what it shows, and thin wiring around them."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from aelib import data, metrics, models, plots, zoo
from aelib import images as im

ERROR_GAIN = 4
ZOOM = 3
_LABEL_WIDTH = 90  # CSS pixels
_LABELS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "conv": "convolutional", "dense": "fully connected"}


@dataclass(frozen=True)
class View:
    """What the explorer shows for one choice.

    Attributes
    ----------
    png : bytes
        Rows of originals, decoded pictures and absolute errors, one pixel of the data set per pixel.
    sizes : tuple of int
        Bytes of each image: the payload of its stream and one byte for the quality.
    psnr : tuple of float
        Of each decoded picture, in dB.
    alt : str
        The picture in words.
    caption : str
        The figures in words.
    """

    png: bytes
    sizes: tuple[int, ...]
    psnr: tuple[float, ...]
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


_codec = cache(zoo.load_codec)


@lru_cache(maxsize=512)
def render(dataset: str, architecture: str, latent_dim: int, first: int = 0, count: int = 8) -> View:
    """Encode `count` test images from number `first` by a pretrained model and decode them from the bytes.

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
    codec = _codec(name)
    streams = codec.encode(reference)
    restored = codec.decode(streams)
    error = ((restored.int() - reference.int()).abs() * ERROR_GAIN).clamp(max=255).to(torch.uint8)
    png = im.write_picture(im.tile(torch.cat([reference, restored, error]), columns=count), "PNG")
    psnr, ssim = metrics.psnr(reference, restored), metrics.ssim(reference, restored)
    facts = zoo.card(name)
    side = facts.size
    payloads = [codec.payload(stream) + b"q" for stream in streams]
    raw = facts.channels * side**2
    title = f"{_LABELS[dataset]}, {_LABELS[architecture]} autoencoder, K = {latent_dim}"
    size, whole = (sum(map(len, kind)) / count for kind in (payloads, streams))
    rate, whole_rate = (metrics.bits_per_pixel(kind, side, side).mean() for kind in (payloads, streams))
    caption = (
        f"{title}: test images {first} to {first + count - 1}, "
        f"mean PSNR {psnr.mean():.2f} dB, SSIM {ssim.mean():.3f}.\n"
        f"Mean of {size:.1f} bytes an image with a shared header ({rate:.3f} bpp, {raw / size:,.0f} to 1), "
        f"{whole:.1f} bytes as whole streams ({whole_rate:.3f} bpp), {raw:,} bytes uncompressed.\n"
        f"All {facts.test['images']:,} test images, float latents: mean PSNR {facts.test['mean_psnr']:.2f} dB, "
        f"SSIM {facts.test['ssim']:.3f}; PCA with K = {latent_dim}: {facts.pca_mean_psnr:.2f} dB."
    )
    alt = f"{title}: test images {first} to {first + count - 1}, decoded pictures, absolute errors times {ERROR_GAIN}"
    return View(png, tuple(map(len, payloads)), tuple(psnr.tolist()), alt, caption)


@lru_cache(maxsize=64)
def strip(dataset: str, architecture: str, first: int = 0, count: int = 8) -> bytes:
    """Return a PNG of the originals and of what is decoded of them at every shipped size, labelled."""
    reference = originals(dataset, first, count)
    rows = {"original": reference}
    for size in zoo.sizes(dataset, architecture):
        codec = _codec(zoo.model_name(dataset, architecture, size))
        streams = codec.encode(reference)
        restored = codec.decode(streams)
        mean = sum(len(codec.payload(stream)) + 1 for stream in streams) / count
        rows[f"K = {size}, {mean:.0f} B\n{float(metrics.psnr(reference, restored).mean()):.2f} dB"] = restored
    axes = plots.picture_rows(rows, zoom=0.8)
    axes[0].set_title(f"{_LABELS[dataset]}, {_LABELS[architecture]}: test images {first} to {first + count - 1}")
    return plots.to_png(axes[0], dpi=110)


def picture_html(view: View, width: int) -> str:
    """Return the picture of `view`, at most `width` CSS pixels wide, with labelled rows; bytes and PSNR by column."""
    source = f"data:image/png;base64,{base64.b64encode(view.png).decode()}"
    labels = ("original", "autoencoder", f"error x {ERROR_GAIN}", "bytes", "PSNR (dB)")
    rows = {4: map(str, view.sizes), 5: (f"{value:.1f}" for value in view.psnr)}
    cells = "".join(
        f'<span style="grid-area:{row}/2;display:flex">'
        + "".join(f'<span style="flex:1;text-align:center">{value}</span>' for value in values)
        + "</span>"
        for row, values in rows.items()
    )
    return (
        '<div style="display:grid;align-items:center;line-height:1.2;'
        f'grid-template:repeat(3,1fr) 24px 24px / {_LABEL_WIDTH}px minmax(0,{width}px)">'
        + "".join(f'<span style="grid-column:1;grid-row:{row}">{label}</span>' for row, label in enumerate(labels, 1))
        + f'<img alt="{html.escape(view.alt)}" src="{source}" '
        f'style="grid-area:1/2/4/3;width:100%;max-width:none;margin:0;image-rendering:pixelated">{cells}</div>'
    )


@lru_cache(maxsize=64)
def table_html(dataset: str, architecture: str, latent_dim: int) -> str:
    """Return mean PSNR over the test set at every shipped size as a table, the column of `latent_dim` framed."""
    cards = [zoo.card(zoo.model_name(dataset, architecture, size)) for size in zoo.sizes(dataset, architecture)]
    rows = {
        "K": [str(card.latent_dim) for card in cards],
        "autoencoder, mean PSNR (dB)": [f"{card.test['mean_psnr']:.2f}" for card in cards],
        "PCA, mean PSNR (dB)": [f"{card.pca_mean_psnr:.2f}" for card in cards],
    }
    plain, chosen = (
        "padding:0 8px;text-align:right",
        "padding:0 8px;text-align:right;font-weight:bold;outline:1px solid",
    )
    styles = [chosen if card.latent_dim == latent_dim else plain for card in cards]
    lines = [
        f'<tr><th scope="row" style="text-align:left">{label}</th>'
        + "".join(f'<td style="{style}">{value}</td>' for style, value in zip(styles, values, strict=True))
        + "</tr>"
        for label, values in rows.items()
    ]
    return f'<table style="line-height:1.4">{"".join(lines)}</table>'


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
    view : View
        What is shown.
    picture, caption, table : ipywidgets.HTML

    Raises
    ------
    ValueError
        Unknown names, or no weights for them.
    """

    def __init__(self, dataset: str = "cifar10", architecture: str = "conv", count: int = 8) -> None:
        families = [(kind, net) for kind in data.CLASSES for net in models.ARCHITECTURES if zoo.sizes(kind, net)]
        if (dataset, architecture) not in families:
            raise ValueError(f"expected a data set and a network out of {families}, got {(dataset, architecture)}")
        self._count = count
        sizes = zoo.sizes(dataset, architecture)
        originals(dataset, 0, count)  # refuses a count that no row can have
        last = len(data.load(dataset, "test", source="sample")) - count
        self.dataset = _buttons("Data", dataset, [kind for kind, _ in families])
        self.architecture = _buttons("Network", architecture, [net for _, net in families])
        self.size = ipywidgets.SelectionSlider(
            options=sizes,
            value=sizes[0],
            description="Numbers K",
            continuous_update=True,
            layout={"width": "560px", "max_width": "100%"},
        )
        self.first = ipywidgets.BoundedIntText(0, 0, last, description="First image", layout={"width": "170px"})
        height = ZOOM * 3 * max(rows for _, rows, _ in data.SHAPES.values()) + 54
        self.picture = ipywidgets.HTML(layout={"height": f"{height}px", "overflow": "hidden"})
        self.caption = ipywidgets.HTML(layout={"min_height": "70px"})
        self.table = ipywidgets.HTML(layout={"min_height": "76px"})
        self.dataset.observe(self._offer_sizes, "value")
        self.architecture.observe(self._offer_sizes, "value")
        self.size.observe(self._show, "value")
        self.first.observe(self._show, "value")
        self._show()
        choices = ipywidgets.HBox([self.dataset, self.architecture, self.first], layout={"flex_flow": "row wrap"})
        super().__init__([choices, self.size, self.picture, self.caption, self.table])

    def _offer_sizes(self, _change: object = None) -> None:
        """Offer the sizes of the new choice, and keep the nearest to the old one, with one new picture."""
        sizes = zoo.sizes(self.dataset.value, self.architecture.value)
        self.size.disabled = not sizes
        if not sizes:
            self.picture.value = self.table.value = ""
            self.caption.value = "No weights are shipped for this choice."
            return
        nearest = min(sizes, key=lambda size: abs(size - self.size.value))
        self.size.unobserve(self._show, "value")
        self.size.options = sizes
        self.size.value = nearest
        self.size.observe(self._show, "value")
        self._show()

    def _show(self, _change: object = None) -> None:
        dataset, architecture, size = self.dataset.value, self.architecture.value, self.size.value
        self.view = render(dataset, architecture, size, self.first.value, self._count)
        self.picture.value = picture_html(self.view, ZOOM * data.SHAPES[dataset][2] * self._count)
        lines = "<br>".join(html.escape(line) for line in self.view.caption.split("\n"))
        self.caption.value = f'<div style="line-height:1.5">{lines}</div>'
        self.table.value = table_html(dataset, architecture, size)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add words and a picture of all sizes for readers without a kernel, GitHub among them."""
        bundle = super()._repr_mimebundle_(**kwargs)
        formats = bundle[0] if isinstance(bundle, tuple) else bundle
        if formats is not None:
            formats["text/plain"] = f"{self.view.alt}\n{self.view.caption}"
            formats["image/png"] = strip(self.dataset.value, self.architecture.value, self.first.value, self._count)
        return bundle


def _buttons(description: str, value: str, names: list[str]) -> ipywidgets.ToggleButtons:
    options = [(_LABELS[name], name) for name in dict.fromkeys(names)]
    return ipywidgets.ToggleButtons(
        options=options,
        value=value,
        description=description,
        style={"button_width": "auto", "description_width": "60px"},
        layout={"display": "flex", "width": "max-content", "margin": "0 20px 0 0"},
    )
