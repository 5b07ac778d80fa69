"""The widgets: thin wiring between ipywidgets' controls and what `aelib.views` makes of a choice."""

from __future__ import annotations

from typing import Any

import ipywidgets

from aelib import data, ladders, markup, models, views, zoo
from aelib.ladders import MIXED
from aelib.quantise import QUALITIES
from aelib.views import LABELS, Choice

_WIDE = {"width": "520px", "max_width": "100%"}


def families() -> list[tuple[str, str]]:
    """Return the data sets and networks that the slider offers: all with more than one size."""
    return [(kind, net) for kind in data.CLASSES for net in models.ARCHITECTURES if len(zoo.offered(kind, net)) > 1]


class BottleneckExplorer(ipywidgets.VBox):
    """A slider that swaps between the pretrained bottleneck sizes, and a dial for how finely latents are rounded.

    Parameters
    ----------
    dataset, architecture : str
        What to show first.
    count : int
        Images side by side.

    Attributes
    ----------
    dataset, architecture : ipywidgets.ToggleButtons
    group : ipywidgets.Dropdown
        Which images.
    size : ipywidgets.SelectionSlider
        Over the sizes K that exist for the choice; assigning to `size.value` swaps the picture.
    quality : ipywidgets.IntSlider
        0 (coarsest latents) to 7 (finest).
    play : ipywidgets.Play
        Sweeps `size`, in the browser.
    view : aelib.views.View
        What is shown.
    picture, caption, curve : ipywidgets.HTML

    Raises
    ------
    ValueError
        Unknown names, no weights for them, or a count that the bundled images cannot fill.
    """

    def __init__(self, dataset: str = "cifar10", architecture: str = "conv", count: int = 6) -> None:
        offered = families()
        if (dataset, architecture) not in offered:
            raise ValueError(f"expected a data set and a network out of {offered}, got {(dataset, architecture)}")
        ladders.originals(dataset, count=count)  # raises for a count out of range
        self._count = count
        self.dataset = _buttons("Data", dataset, [kind for kind, _ in offered])
        self.architecture = _buttons("Network", architecture, [net for _, net in offered])
        self.group = ipywidgets.Dropdown(
            options=[MIXED, *data.CLASSES[dataset]], description="Images", layout={"width": "240px"}
        )
        sizes = zoo.offered(dataset, architecture)
        self.size = ipywidgets.SelectionSlider(
            options=sizes, value=sizes[0], description="Numbers K", continuous_update=True, layout=_WIDE
        )
        self.quality = ipywidgets.IntSlider(
            QUALITIES[-1], QUALITIES[0], QUALITIES[-1], description="Rounding", readout=True, layout=_WIDE
        )
        self.play = ipywidgets.Play(max=len(sizes) - 1, interval=800, show_repeat=True)
        ipywidgets.jslink((self.play, "value"), (self.size, "index"))
        self.picture = ipywidgets.HTML(layout={"flex": "1 1 560px", "max_width": "700px", "overflow": "hidden"})
        self.curve = ipywidgets.HTML(layout={"flex": "1 1 280px", "max_width": "360px", "overflow": "hidden"})
        self.caption = ipywidgets.HTML(layout={"min_height": "118px"})
        for control in (self.dataset, self.architecture):
            control.observe(self._offer, "value")
        for control in (self.group, self.size, self.quality):
            control.observe(self._show, "value")
        self._show()
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [
                ipywidgets.HBox([self.dataset, self.architecture, self.group], layout=wrap),
                ipywidgets.HBox([self.size, self.play], layout=wrap),
                self.quality,
                self.caption,
                ipywidgets.HBox(
                    [self.picture, self.curve], layout={"flex_flow": "row wrap", "align_items": "flex-start"}
                ),
            ]
        )

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        net, kind = self.architecture.value, self.dataset.value
        return Choice(kind, net, self.size.value, self.quality.value, self.group.value, self._count)

    def _offer(self, _change: object = None) -> None:
        """Offer the sizes and classes of the new choice, keep what is nearest to the old one, and show once."""
        sizes = zoo.offered(self.dataset.value, self.architecture.value)
        self.size.disabled = not sizes
        if not sizes:
            self._show()
            return
        nearest = min(sizes, key=lambda size: abs(size - self.size.value))
        groups = [MIXED, *data.CLASSES[self.dataset.value]]
        group = self.group.value if self.group.value in groups else MIXED
        for control, options, place in (
            (self.size, sizes, sizes.index(nearest)),
            (self.group, groups, groups.index(group)),
        ):
            control.unobserve(self._show, "value")
            if list(control.options) != options:
                # First an index that old and new options have: a slider in the browser that stands beyond its new end
                # moves there, and says so to the kernel after this.
                control.index = min(place, len(control.options) - 1)
                control.options = options
            control.index = place
            control.observe(self._show, "value")
        # First the value: a value above the new end would move the slider there.
        self.play.value = sizes.index(nearest)
        self.play.max = len(sizes) - 1
        self._show()

    def _show(self, _change: object = None) -> None:
        if self.size.disabled:
            self.picture.value = self.curve.value = ""
            self.caption.value = "No weights are shipped for this choice."
            return
        choice = self.choice
        self.view = views.render(choice)
        self.picture.value = markup.view_html(self.view, markup.ZOOM * data.SHAPES[choice.dataset][2] * self._count)
        self.caption.value = markup.caption_html(self.view)
        self.curve.value = markup.curve_svg(choice)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add words and a picture of all sizes for readers without a kernel, GitHub among them."""
        bundle = super()._repr_mimebundle_(**kwargs)
        return bundle if self.size.disabled else markup.with_still(bundle, self.view, views.strip(self.choice))


def _buttons(description: str, value: str, names: list[str]) -> ipywidgets.ToggleButtons:
    options = [(LABELS[name], name) for name in dict.fromkeys(names)]
    return ipywidgets.ToggleButtons(
        options=options,
        value=value,
        description=description,
        style={"button_width": "auto", "description_width": "60px"},
        layout={"display": "flex", "width": "max-content", "margin": "0 20px 0 0"},
    )
