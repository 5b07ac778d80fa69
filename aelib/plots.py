"""Figures: arrays and records in, matplotlib axes out; no quality or rate is computed here and nothing is shown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from aelib import images as im
from aelib.train import Epoch

# Okabe and Ito's palette (2008), distinguishable with any colour vision, and Tol's (2021) where it ends; each method
# keeps its colour everywhere.
COLOURS = {
    **{"mean image": "#999999", "PCA": "#000000", "conv": "#0072B2", "autoencoder": "#0072B2", "dense": "#E69F00"},
    **{"residual, refined": "#CC6677", "residual": "#882255", "ordered": "#44AA99", "UvA": "#777777"},
    **{"learned codec, best": "#332288", "learned codec, slow": "#AA4499", "learned codec": "#EE3333"},
    **{"Minnen 2020": "#444444", "Balle 2018": "#AAAAAA", "Cheng 2020": "#222222", "BMS 2018": "#CCCCCC"},
    **{"JPEG 2000": "#56B4E9", "JPEG XL": "#999933", "JPEG": "#D55E00", "WebP": "#009E73", "AVIF": "#CC79A7"},
}
MARKERS = dict(zip(COLOURS, "xsoo^^*dX*pHxxxxvPD<>", strict=True))


def picture_rows(
    rows: Mapping[str, Tensor], *, title: str = "", captions: Sequence[str] = (), zoom: float = 1.0
) -> list[Axes]:
    """Draw sets of images as labelled rows, one column per image.

    Parameters
    ----------
    rows : mapping of str to Tensor
        Label of each row to uint8 images (N, C, H, W).
    title : str
        Names the data set and the number of images, what the labels and captions measure, and the accounting of bytes.
    captions : sequence of str
        A caption over each column.
    zoom : float
        Inches per image.

    Returns
    -------
    list of Axes
        One per row.
    """
    columns = max(len(images) for images in rows.values())
    axes = _row_axes(list(rows), (columns * zoom + 1.2, len(rows) * zoom + 0.4), title)
    for axis, images in zip(axes, rows.values(), strict=True):
        height, width = images.shape[2:]
        tiled = _array(im.tile(images, columns=len(images)))
        axis.imshow(tiled, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set(xticks=[], yticks=[height / 2], yticklabels=[""])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    axes[0].set_xticks([(column + 0.5) * width - 0.5 for column in range(len(captions))], captions, fontsize=8)
    axes[0].xaxis.tick_top()
    return axes


def error_rows(reference: Tensor, others: Mapping[str, Tensor], *, title: str, limit: float = 64.0) -> list[Axes]:
    """Draw the absolute error, mean over channels, of each set of images against `reference`, on one fixed scale.

    Parameters
    ----------
    reference : Tensor
        uint8, (N, C, H, W).
    others : mapping of str to Tensor
        Label to uint8 images of the same shape.
    title : str
        As for `picture_rows`.
    limit : float
        The error, out of 255, that is drawn brightest.
    """
    axes = _row_axes(list(others), (len(reference) + 2.0, len(others) + 0.4), title)
    for axis, images in zip(axes, others.values(), strict=True):
        error = (images.float() - reference.float()).abs().mean(dim=1)  # (N, H, W)
        axis.imshow(np.hstack(list(error.numpy())), cmap="magma", vmin=0, vmax=limit, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    plt.colorbar(axes[0].images[0], ax=axes, label="absolute error (of 255)")
    return axes


def loss_curves(histories: Mapping[str, Sequence[Epoch]], *, unit: str, title: str, axis: Axes | None = None) -> Axes:
    """Draw training (dashed) and validation loss per epoch on a logarithmic scale.

    Parameters
    ----------
    histories : mapping of str to sequence of Epoch
        Label to what `aelib.train.fit` returned.
    unit : str
        Label of the loss axis.
    title : str
        Names the loss and the images of validation.
    """
    axis = axis or _new_axis()
    for label, history in histories.items():
        epochs, colour = [record.epoch for record in history], _style(label).get("color")
        validation, training = [record.validation_loss for record in history], [record.train_loss for record in history]
        (line,) = axis.plot(epochs, validation, color=colour, label=f"{label}, validation")
        axis.plot(epochs, training, "--", color=line.get_color(), label=f"{label}, training")
    axis.set(xlabel="epoch", ylabel=unit, yscale="log", title=title)
    axis.locator_params(axis="x", integer=True)
    axis.yaxis.set(major_formatter="{x:.3g}", minor_formatter="{x:.3g}")
    axis.legend(fontsize=8)
    return axis


def quality_by_size(curves: Mapping[str, Mapping[int, float]], *, title: str, axis: Axes | None = None) -> Axes:
    """Draw mean PSNR in dB against the bottleneck size K, one line per method.

    Parameters
    ----------
    curves : mapping of str to mapping of int to float
        Method to K to mean PSNR in dB.
    title : str
        Names the data set and the number of images.
    """
    axis = axis or _new_axis()
    for label, curve in curves.items():
        axis.plot(*zip(*sorted(curve.items()), strict=True), **_style(label), label=label)
    axis.set_xscale("log", base=2)
    ticks = sorted({size for curve in curves.values() for size in curve})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set(xlabel="latent numbers K", ylabel="mean PSNR (dB)", title=title)
    axis.grid(alpha=0.3)
    axis.legend()
    return axis


def rate_distortion(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, quality: str, title: str, axis: Axes | None = None
) -> Axes:
    """Draw quality against rate, one line per codec.

    Parameters
    ----------
    curves : mapping of str to sequence of (float, float)
        Codec to its points (bit per pixel, quality).
    quality : str
        Label of the quality axis: "mean PSNR (dB)" or "SSIM".
    title : str
        Names data set, number of images and accounting.
    """
    axis = axis or _new_axis()
    for label, points in curves.items():
        axis.plot(*zip(*sorted(points), strict=True), **_style(label), label=label)
    axis.set(xlabel="rate (bit per pixel)", ylabel=quality, title=title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return axis


def explained_variance(shares: Mapping[str, Tensor], *, title: str, axis: Axes | None = None) -> Axes:
    """Draw the cumulated share of the variance that the first principal components explain.

    Parameters
    ----------
    shares : mapping of str to Tensor
        Label to the shares (K,) that each component explains alone.
    title : str
        Whose variance it is, and of how many images.
    """
    axis = axis or _new_axis()
    for label, share in shares.items():
        axis.plot(range(1, len(share) + 1), share.cumsum(0).numpy(), marker=".", label=label)
    axis.set(xlabel="principal components", ylabel="explained variance (share)", ylim=(0, 1.03), title=title)
    axis.grid(alpha=0.3)
    axis.legend()
    return axis


def class_scatter(
    points: Tensor, labels: Tensor, classes: Sequence[str], *, title: str, axis: Axes | None = None
) -> Axes:
    """Scatter points (N, 2) or (N, 3) coloured by class.

    Parameters
    ----------
    points : Tensor
        float, (N, 2) or (N, 3).
    labels : Tensor
        int64, (N,), indices into `classes`.
    classes : sequence of str
        Names for the legend.
    title : str
        What the axes are and how many points there are.
    """
    dimensions = points.shape[1]
    if dimensions not in (2, 3):
        raise ValueError(f"expected points of 2 or 3 dimensions, got {dimensions}")
    if axis is None:
        projection = "3d" if dimensions == 3 else None
        axis = plt.figure(figsize=(6.5, 5.5), layout="constrained").add_subplot(projection=projection)
    for index, name in enumerate(classes):
        style: dict[str, Any] = {"s": 5, "alpha": 0.6, "color": plt.get_cmap("tab10")(index), "label": name}
        axis.scatter(*points[labels == index].T.numpy(), **style)
    axis.set_title(title)
    axis.legend(markerscale=3, fontsize=8, loc="center left", bbox_to_anchor=(1.05, 0.5))
    return axis


def thumbnails(points: Tensor, pictures: Tensor, *, title: str, axis: Axes | None = None) -> Axes:
    """Draw each image of `pictures` (N, C, H, W) at its place in `points` (N, 2)."""
    axis = axis or _new_axis((8, 7))
    side = (points.max(0).values - points.min(0).values) / 34  # of a thumbnail, in the units of each axis
    side[side == 0] = 1.0
    for (x, y), picture in zip(points.tolist(), pictures, strict=True):
        box = (x - float(side[0]) / 2, x + float(side[0]) / 2, y - float(side[1]) / 2, y + float(side[1]) / 2)
        axis.imshow(_array(picture), cmap="gray", vmin=0, vmax=255, extent=box, interpolation="nearest")
    low, high = (points.min(0).values - side).tolist(), (points.max(0).values + side).tolist()
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), title=title, aspect="auto")
    return axis


def to_png(axis: Axes, *, dpi: int = 80) -> bytes:
    """Return the figure of `axis` as the bytes of a PNG file, and close it."""
    figure = axis.get_figure(root=True)
    if figure is None:
        raise ValueError("expected axes that belong to a figure, got axes without one")
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=dpi)
    plt.close(figure)
    return buffer.getvalue()


def _row_axes(labels: Sequence[str], size: tuple[float, float], title: str) -> list[Axes]:
    axes = plt.subplots(len(labels), 1, figsize=size, squeeze=False, layout="constrained")[1][:, 0]
    for axis, label in zip(axes, labels, strict=True):
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    axes[0].set_title(title, fontsize=10)
    return list(axes)


def _new_axis(size: tuple[float, float] = (6.5, 4.2)) -> Axes:
    return plt.subplots(figsize=size, layout="constrained")[1]


def _style(label: str) -> dict[str, Any]:
    kind = next((known for known in COLOURS if label.lower().startswith(known.lower())), "")
    style = {"color": COLOURS[kind], "marker": MARKERS[kind], "markersize": 4} if kind else {"marker": "."}
    return {**style, "linestyle": ":"} if label.endswith("(published)") else style


def _array(picture: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    array: np.ndarray[Any, np.dtype[np.uint8]] = picture.permute(1, 2, 0).numpy()
    return array if array.shape[2] == 3 else array[:, :, 0]
