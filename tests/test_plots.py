import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from aelib import plots
from aelib.train import Epoch

HISTORY = [Epoch(1, 0.5, 0.6, 1e-3, 1.0), Epoch(2, 0.3, 0.4, 1e-3, 1.0)]
POINTS = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
LABELS = torch.tensor([0, 1, 1])


def pictures(count=3, channels=1, height=4, width=6):
    return torch.arange(count * channels * height * width).reshape(count, channels, height, width).to(torch.uint8)


FIGURES = {
    "rows": lambda: plots.picture_rows({"first": pictures(), "second": pictures()}, captions=["a", "b", "c"]),
    "colour rows": lambda: plots.picture_rows({"first": pictures(channels=3)}),
    "errors": lambda: plots.error_rows(pictures(), {"first": pictures().flip(0)}),
    "losses": lambda: plots.loss_curves({"conv": HISTORY, "dense": HISTORY}, unit="mean squared error"),
    "sizes": lambda: plots.quality_by_size({"PCA": {2: 10.0, 4: 12.0}, "conv": {4: 13.0}}, title="MNIST"),
    "rates": lambda: plots.rate_distortion({"JPEG 4:4:4": [(2.0, 30.0), (1.0, 20.0)]}, quality="dB", title="MNIST"),
    "variance": lambda: plots.explained_variance({"conv": torch.tensor([0.5, 0.3])}),
    "2-D": lambda: plots.class_scatter(POINTS, LABELS, ["a", "b"], title="PCA"),
    "3-D": lambda: plots.class_scatter(torch.cat([POINTS, POINTS[:, :1]], 1), LABELS, ["a", "b"], title="PCA"),
    "thumbnails": lambda: plots.thumbnails(POINTS, pictures(), title="PCA"),
}
WITH_AXIS = {
    "losses": lambda axis: plots.loss_curves({"conv": HISTORY}, unit="loss", axis=axis),
    "sizes": lambda axis: plots.quality_by_size({"conv": {2: 1.0}}, title="MNIST", axis=axis),
    "rates": lambda axis: plots.rate_distortion({"JPEG": [(1.0, 2.0)]}, quality="dB", title="", axis=axis),
    "variance": lambda axis: plots.explained_variance({"conv": torch.ones(1)}, axis=axis),
    "scatter": lambda axis: plots.class_scatter(POINTS, LABELS, ["a", "b"], title="", axis=axis),
    "thumbnails": lambda axis: plots.thumbnails(POINTS, pictures(), title="", axis=axis),
}


@pytest.fixture(autouse=True)
def no_window_and_no_left_over(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("a figure was shown"))
    yield
    plt.close("all")


def drawn(line):
    return [list(map(float, values)) for values in line.get_data()]


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_returned_as_axes_and_closed_by_to_png(figure):
    result = FIGURES[figure]()
    axes = result if isinstance(result, list) else [result]
    assert axes
    assert all(isinstance(axis, Axes) for axis in axes)
    assert len(plt.get_fignums()) == 1
    png = plots.to_png(axes[0], dpi=50)
    assert plt.get_fignums() == []
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 50
        assert len(np.unique(np.asarray(picture))) > 10, "an empty picture"


@pytest.mark.parametrize("figure", WITH_AXIS)
def test_figures_draw_into_given_axes(figure):
    axis = plt.subplots()[1]
    assert WITH_AXIS[figure](axis) is axis
    assert len(plt.get_fignums()) == 1


def test_axes_without_a_figure_are_refused():
    axis = plt.subplots()[1]
    axis.remove()
    with pytest.raises(ValueError, match="axes without one"):
        plots.to_png(axis)


def test_rows_show_the_pixels_and_the_labels():
    images = pictures()
    axes = plots.picture_rows({"originals": images, "restored": images.flip(0)}, captions=["a", "b", "c"])
    assert [axis.get_ylabel() for axis in axes] == ["originals", "restored"]
    shown = np.asarray(axes[0].images[0].get_array())
    assert np.array_equal(shown, np.hstack([image[0].numpy() for image in images]))
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["a", "b", "c"]
    assert axes[0].images[0].get_clim() == (0, 255), "grey levels must not be stretched"


def test_errors_share_one_scale():
    black, white = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    axes = plots.error_rows(white, {"black": black, "white": white}, limit=100)
    assert [np.asarray(axis.images[0].get_array()).max() for axis in axes] == [255, 0], "uint8 would wrap round"
    assert {axis.images[0].get_clim() for axis in axes} == {(0, 100)}


def test_curves_hold_the_numbers_they_were_given():
    validation, training = plots.loss_curves({"conv": HISTORY}, unit="loss").get_lines()
    assert drawn(validation) == [[1, 2], [0.6, 0.4]]
    assert drawn(training) == [[1, 2], [0.5, 0.3]]
    (sizes,) = plots.quality_by_size({"conv": {8: 2.0, 2: 1.0}}, title="").get_lines()
    assert drawn(sizes) == [[2, 8], [1, 2]]
    (rates,) = plots.rate_distortion({"JPEG": [(2.0, 30.0), (1.0, 20.0)]}, quality="dB", title="").get_lines()
    assert drawn(rates) == [[1, 2], [20, 30]]
    (shares,) = plots.explained_variance({"conv": torch.tensor([0.5, 0.25])}).get_lines()
    assert drawn(shares) == [[1, 2], [0.5, 0.75]]


def test_axes_name_their_units():
    axis = plots.quality_by_size({"conv": {2: 1.0}}, title="100 mnist images")
    assert axis.get_ylabel() == "mean PSNR (dB)"
    assert axis.get_title() == "100 mnist images"
    axis = plots.rate_distortion({"JPEG": [(1.0, 2.0)]}, quality="SSIM", title="")
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("rate (bit per pixel)", "SSIM")


def test_each_method_keeps_its_colour_and_marker_everywhere():
    axis = plots.quality_by_size({"PCA": {2: 1.0}, "conv": {2: 1.0}, "something else": {2: 1.0}}, title="")
    by_size = {line.get_label(): (line.get_color(), line.get_marker()) for line in axis.get_lines()}
    axis = plots.rate_distortion({"conv": [(1.0, 2.0)], "PCA, 8 bit": [(1.0, 2.0)]}, quality="dB", title="")
    by_rate = {line.get_label(): (line.get_color(), line.get_marker()) for line in axis.get_lines()}
    assert by_rate["conv"] == by_size["conv"]
    assert by_rate["PCA, 8 bit"] == by_size["PCA"]
    assert len(set(by_size.values())) == 3
    assert set(plots.COLOURS) == set(plots.MARKERS)
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS) - 1
    assert plots.COLOURS["autoencoder"] == plots.COLOURS["conv"]


def test_scatter_colours_by_class():
    axis = plots.class_scatter(POINTS, LABELS, ["cats", "dogs"], title="two classes")
    cats, dogs = axis.collections
    assert np.asarray(cats.get_offsets()).tolist() == POINTS[:1].tolist()
    assert np.asarray(dogs.get_offsets()).tolist() == POINTS[1:].tolist()
    assert not np.array_equal(cats.get_facecolor(), dogs.get_facecolor())
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["cats", "dogs"]


@pytest.mark.parametrize("dimensions", [1, 4])
def test_scatter_refuses_other_dimensions(dimensions):
    with pytest.raises(ValueError, match=f"2 or 3 dimensions, got {dimensions}"):
        plots.class_scatter(torch.zeros(3, dimensions), LABELS, ["a", "b"], title="")


def test_thumbnails_stand_at_their_points():
    axis = plots.thumbnails(POINTS, pictures(), title="")
    centres = [((box[0] + box[1]) / 2, (box[2] + box[3]) / 2) for box in (image.get_extent() for image in axis.images)]
    assert centres == [pytest.approx(point) for point in POINTS.tolist()]


def test_thumbnails_of_one_point_have_a_size():
    axis = plots.thumbnails(POINTS[:1], pictures(1), title="")
    left, right, bottom, top = axis.images[0].get_extent()
    assert right > left
    assert top > bottom
