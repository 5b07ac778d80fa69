import ast
import inspect
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
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
TITLE = "PSNR in dB of 3 images"


def pictures(count=3, channels=1, height=4, width=6):
    return torch.arange(count * channels * height * width).reshape(count, channels, height, width).to(torch.uint8)


FIGURES = {
    "rows": lambda: plots.picture_rows({"a": pictures(), "b": pictures()}, title=TITLE, captions=["a", "b", "c"]),
    "colour rows": lambda: plots.picture_rows({"first": pictures(channels=3)}, title=TITLE),
    "errors": lambda: plots.error_rows(pictures(), {"first": pictures().flip(0)}, title=TITLE),
    "losses": lambda: plots.loss_curves({"conv": HISTORY, "dense": HISTORY}, unit="mean squared error", title=TITLE),
    "sizes": lambda: plots.quality_by_size({"PCA": {2: 10.0, 4: 12.0}, "conv": {4: 13.0}}, title=TITLE),
    "rates": lambda: plots.rate_distortion({"JPEG 4:4:4": [(2.0, 30.0), (1.0, 20.0)]}, quality="dB", title=TITLE),
    "variance": lambda: plots.explained_variance({"conv": torch.tensor([0.5, 0.3])}, title=TITLE),
    "2-D": lambda: plots.class_scatter(POINTS, LABELS, ["a", "b"], title=TITLE),
    "3-D": lambda: plots.class_scatter(torch.cat([POINTS, POINTS[:, :1]], 1), LABELS, ["a", "b"], title=TITLE),
    "thumbnails": lambda: plots.thumbnails(POINTS, pictures(), title=TITLE),
}
WITH_AXIS = {
    "losses": lambda axis: plots.loss_curves({"conv": HISTORY}, unit="loss", title="", axis=axis),
    "sizes": lambda axis: plots.quality_by_size({"conv": {2: 1.0}}, title="MNIST", axis=axis),
    "rates": lambda axis: plots.rate_distortion({"JPEG": [(1.0, 2.0)]}, quality="dB", title="", axis=axis),
    "variance": lambda axis: plots.explained_variance({"conv": torch.ones(1)}, title="", axis=axis),
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
    assert [axis.get_title() for axis in axes] == [TITLE, *[""] * (len(axes) - 1)]
    assert len(plt.get_fignums()) == 1
    png = plots.to_png(axes[0], dpi=50)
    assert plt.get_fignums() == []
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 50
        assert len(np.unique(np.asarray(picture))) > 10, "an empty picture"


def test_every_figure_must_be_given_a_title():
    """Rows of pictures may do without: `upload` puts words beside them."""
    drawing = [function for _, function in inspect.getmembers(plots, inspect.isfunction) if function.__name__[0] != "_"]
    titles = {function.__name__: inspect.signature(function).parameters.get("title") for function in drawing}
    titles = {name: title for name, title in titles.items() if getattr(plots, name).__module__ == plots.__name__}
    assert titles.pop("to_png") is None
    assert titles.pop("picture_rows").default == ""
    assert len(titles) == 7
    assert all(title.default is title.empty for title in titles.values())


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
    axes = plots.error_rows(white, {"black": black, "white": white}, title="", limit=100)
    assert [np.asarray(axis.images[0].get_array()).max() for axis in axes] == [255, 0], "uint8 would wrap round"
    assert {axis.images[0].get_clim() for axis in axes} == {(0, 100)}


def test_curves_hold_the_numbers_they_were_given():
    validation, training = plots.loss_curves({"conv": HISTORY}, unit="loss", title="").get_lines()
    assert drawn(validation) == [[1, 2], [0.6, 0.4]]
    assert drawn(training) == [[1, 2], [0.5, 0.3]]
    (sizes,) = plots.quality_by_size({"conv": {8: 2.0, 2: 1.0}}, title="").get_lines()
    assert drawn(sizes) == [[2, 8], [1, 2]]
    (rates,) = plots.rate_distortion({"JPEG": [(2.0, 30.0), (1.0, 20.0)]}, quality="dB", title="").get_lines()
    assert drawn(rates) == [[1, 2], [20, 30]]
    (shares,) = plots.explained_variance({"conv": torch.tensor([0.5, 0.25])}, title="").get_lines()
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


# --- the figures of the notebooks say how many images, which metric, and which bytes are counted

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
SAYING = {"title", "label", "quality", "unit", "xlabel", "ylabel"}  # options that put words on a figure,
SETTERS = {"set_title", "suptitle", "set_xlabel", "set_ylabel"}  # and functions that do
ON_AXES = {"quality_by_size": "PSNR", "error_rows": "error", "explained_variance": "variance"}  # tested above
# A number before "images", or a variable of the notebooks that is a data set, whose text says as much.
IMAGES = re.compile(r"(?:\d|\{[^{}]+\}) (?:\{?[a-z]+\}? )*images|\{(?:dataset|part|some|test|training|validation)\b")
METRIC = re.compile(
    r"\b(?:PSNR|SSIM|MSE|error|rate|bits|cost|variance|accuracy|share|t-SNE|latent numbers)\b", re.IGNORECASE
)
PICTURES_ALONE = re.compile("The first {shown} of each class|Walks between images")  # where nothing is measured
BYTES = re.compile(r"\b(?:B|bpp|bytes|bits?|rate_distortion)\b")
ACCOUNTING = re.compile(r"\b(?:whole files?|shared header|payload|estimated bits)\b", re.IGNORECASE)
WIDGETS = {"06": 3}  # which are drawn for readers without a kernel in `views.strip` and in `upload`


def words(node, texts):
    """What an expression says as text; what is known only when it runs stands in braces."""
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part, texts) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return words(node.value, texts)
    if isinstance(node, ast.Name) and node.id in texts:
        return words(texts[node.id], texts)
    return str(node.value) if isinstance(node, ast.Constant) else f"{{{ast.unparse(node)}}}"


def figures(source):
    """The figures that a cell draws, each as all that it says of itself."""
    nodes = list(ast.walk(ast.parse(source)))
    assignments = [node for node in nodes if isinstance(node, ast.Assign)]
    texts = {ast.unparse(one.targets[0]): one.value for one in assignments if isinstance(one.value, ast.JoinedStr)}
    whole, parts = [], []
    for call in (node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        options, owner = {option.arg: option.value for option in call.keywords}, ast.unparse(call.func.value)
        said = [words(value, texts) for name, value in options.items() if name in SAYING]
        said += [words(value, texts) for value in call.args if call.func.attr in SETTERS]
        said = " ".join([*said, ON_AXES.get(call.func.attr, "")])
        if owner == "plots" and "axis" not in options:
            whole.append(said)
        elif owner != "tables":
            parts.append(said)
    return [" ".join([one, *parts]) for one in whole] + [" ".join(parts)] * ("plt.subplots" in source)


def unsaid(source):
    """What the figures of a cell leave out."""
    for said in figures(source):
        if not IMAGES.search(said):
            yield f"number of images: {said}"
        if not METRIC.search(said) and not PICTURES_ALONE.match(said):
            yield f"metric: {said}"
        if BYTES.search(source) and not ACCOUNTING.search(said) and "tables.ACCOUNTING_TITLES" not in source:
            yield f"accounting: {said}"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_figure_of_a_notebook_says_what_it_must(file):
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    assert [problem for cell in cells for problem in unsaid(cell.source)] == []
    drawn = [cell.source for cell in cells if any("image/png" in output.get("data", {}) for output in cell.outputs)]
    assert len([source for source in drawn if not figures(source)]) == WIDGETS.get(file.stem[:2], 0)


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ('title = f"PSNR in dB of {test}"\nplots.picture_rows(rows, title=title)', []),
        ("plots.picture_rows(rows)", ["number of images", "metric"]),
        ('plots.picture_rows(rows, title="PSNR in dB")', ["number of images"]),
        ('plots.error_rows(images, rows, title=f"the first {shown} of {part}")', []),
        ('plots.thumbnails(points, images, title="10,000 mnist images")', ["metric"]),
        ('rows["5 B"] = x\nplots.picture_rows(rows, title=f"PSNR of {count:,} images")', ["accounting"]),
        ('plots.rate_distortion(c, quality="SSIM", title="9 images")', ["accounting"]),
        ('figure, axis = plt.subplots()\naxis.set(title=f"{n} test images", ylabel="bits of payload")', []),
        ('figure, axis = plt.subplots()\nplots.quality_by_size(c, title="9 images", axis=axis)', []),
        (
            'figure, axis = plt.subplots()\naxis.plot(x)\ntables.by_size(y, title="PSNR")',
            ["number of images", "metric"],
        ),
    ],
)
def test_what_a_figure_leaves_out_is_found(source, missing):
    assert [problem.partition(":")[0] for problem in unsaid(source)] == missing


def test_a_data_set_says_how_many_images_it_has(samples):
    for (name, part), dataset in samples.items():
        assert str(dataset).startswith(f"{len(dataset):,} {name} images"), part
