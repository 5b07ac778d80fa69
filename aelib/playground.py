"""Widgets for pictures of one's own: upload a file, draw a digit."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import torch
import traitlets

from aelib import data, files, markup, upload, zoo
from aelib.ladders import originals
from aelib.quantise import QUALITIES
from aelib.views import LABELS, View

_WIDE = {"width": "520px", "max_width": "100%"}
_FORMATS = ".png,.jpg,.jpeg,.webp,.avif,.gif,.bmp,.tif,.tiff"


class PictureExplorer(ipywidgets.VBox):
    """Upload a picture and see it through a pretrained model, block by block, beside JPEG at the nearest bytes.

    Attributes
    ----------
    upload : ipywidgets.FileUpload
    dataset : ipywidgets.ToggleButtons
        Whose models: CIFAR-10's for colour, MNIST's for a grey picture.
    size : ipywidgets.SelectionSlider
    quality : ipywidgets.IntSlider
    view : aelib.views.View or None
        What is shown; a file that is no picture leaves it as it was.
    picture, caption, message : ipywidgets.HTML
    """

    def __init__(self, dataset: str = "cifar10") -> None:
        self.view: View | None = None
        self._original: torch.Tensor | None = None
        self.upload = ipywidgets.FileUpload(accept=_FORMATS, description="Your picture")
        self.dataset = ipywidgets.ToggleButtons(
            options=[(LABELS[name], name) for name in data.CLASSES], value=dataset, style={"button_width": "auto"}
        )
        sizes = zoo.sizes(dataset, "conv")
        options = {"continuous_update": False, "layout": _WIDE}
        self.size = ipywidgets.SelectionSlider(options=sizes, value=sizes[-1], description="Numbers K", **options)
        self.quality = ipywidgets.IntSlider(QUALITIES[-1], 0, QUALITIES[-1], description="Rounding", **options)
        # Room for one line and for four, so that the pictures stay where they are.
        self.message = ipywidgets.HTML(
            "Choose a picture of up to 4096x4096 pixels. It stays on this machine.", layout={"min_height": "32px"}
        )
        self.caption, self.picture = ipywidgets.HTML(layout={"min_height": "80px"}), ipywidgets.HTML()
        self.upload.observe(self._uploaded, "value")
        self.dataset.observe(self._offer_sizes, "value")
        for control in (self.size, self.quality):
            control.observe(self._show, "value")
        first = ipywidgets.HBox([self.upload, self.dataset], layout={"flex_flow": "row wrap"})
        super().__init__([first, self.size, self.quality, self.message, self.caption, self.picture])

    def _uploaded(self, _change: object = None) -> None:
        if self.upload.value:
            self.show_file(bytes(self.upload.value[-1].content), str(self.upload.value[-1].name))

    def show_file(self, content: bytes, name: str = "your file") -> None:
        """Show the picture in a file's bytes, or say why it is none."""
        self.message.value = f"Opening {html.escape(name)} ..."
        try:
            self._original = files.read_photograph(content)  # once: of 4096x4096 pixels it takes half a second
        except ValueError as error:
            self.message.value = f"{html.escape(name)} was not opened: {html.escape(str(error))}."
            return
        self._show()

    def _offer_sizes(self, _change: object = None) -> None:
        sizes = zoo.sizes(self.dataset.value, "conv")
        nearest = min(sizes, key=lambda size: abs(size - self.size.value))
        self.size.unobserve(self._show, "value")
        self.size.options, self.size.value = sizes, nearest
        self.size.observe(self._show, "value")
        self._show()

    def _show(self, _change: object = None) -> None:
        if self._original is None:
            return
        height, width = self._original.shape[1:]
        self.message.value = f"Coding {width} x {height} pixels ..."  # for seconds, if these are many
        try:
            picture = upload.with_channels(self._original, data.SHAPES[self.dataset.value][0])
            name = zoo.model_name(self.dataset.value, "conv", self.size.value)
            self.view = upload.compare(picture, name, self.quality.value)
            self.caption.value = markup.caption_html(self.view)
            self.picture.value = markup.columns_html(self.view)
        finally:
            self.message.value = ""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add words and the pictures for readers without a kernel."""
        bundle = super()._repr_mimebundle_(**kwargs)
        return markup.with_still(bundle, self.view, upload.still(self.view)) if self.view else bundle


class Canvas(anywidget.AnyWidget):
    """A black square to draw on; `pixels` holds its 28x28 grey values row by row after each stroke."""

    _esm = Path(__file__).with_name("canvas.js")
    pixels = traitlets.List(traitlets.Int()).tag(sync=True)
    cleared = traitlets.Int(0).tag(sync=True)


class DigitExplorer(ipywidgets.VBox):
    """Draw a digit, or take a test digit, and watch it through every bottleneck size at once.

    Wiping the drawing brings the test digit back.

    Attributes
    ----------
    canvas : Canvas
    digit : ipywidgets.Dropdown
        A test digit instead of a drawing, for those who do not draw.
    clear : ipywidgets.Button
    view : aelib.views.View
    picture, caption : ipywidgets.HTML
    """

    def __init__(self) -> None:
        self.canvas = Canvas()
        self.digit = ipywidgets.Dropdown(
            options=data.CLASSES["mnist"], description="Or take a", layout={"width": "200px"}
        )
        self.clear = ipywidgets.Button(description="Wipe")
        self.caption, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        self.canvas.observe(self._drawn, "pixels")
        self.digit.observe(self._taken, "value")
        self.clear.on_click(self._wiped)
        controls = ipywidgets.VBox([self.digit, self.clear])
        super().__init__([ipywidgets.HBox([self.canvas, controls]), self.caption, self.picture])
        self._taken()

    def _drawn(self, _change: object = None) -> None:
        if any(self.canvas.pixels):
            self._show(upload.centred(torch.tensor(self.canvas.pixels, dtype=torch.uint8).reshape(1, 28, 28)))
        else:
            self._taken()

    def _taken(self, _change: object = None) -> None:
        self._show(originals("mnist", self.digit.value, 1)[0])

    def _wiped(self, _button: object = None) -> None:
        self.canvas.cleared += 1

    def _show(self, digit: torch.Tensor) -> None:
        self.view = upload.through_every_size(digit)
        self.caption.value = markup.caption_html(self.view)
        self.picture.value = markup.view_html(self.view, 4 * 28 * len(self.view.rows[-1].cells))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add words and the digits for readers without a kernel."""
        return markup.with_still(super()._repr_mimebundle_(**kwargs), self.view, upload.digits_still(self.view))
