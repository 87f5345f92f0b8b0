"""Plots results as PNG: curves, confusion matrices, contact sheets. matplotlib is imported at the first plot."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = "image/png"
MAX_NAMED, MAX_COUNTED = 40, 20  # maximum number of classes of a plot with class names, and with counts
COLUMNS = 5


def plot_lr_curve(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None
) -> bytes:
    """Plot the losses against the learning rate (logarithmic), and mark the suggested learning rate, as luz does."""
    figure = _create_figure(7, 4)
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.75", label="loss")
    axes.plot(rates, smoothed, label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend()
    return _encode_png(figure)


def plot_confusion_matrix(counts: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Plot counts (C, C) with true classes as rows. The color is the count divided by the sum of its row."""
    size = len(counts)
    figure = _create_figure(*(2 * (max(4.0, min(12.0, 1.5 + 0.45 * size)),)))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if size <= MAX_NAMED:
        names = [shorten_label(label) for label in labels]
        axes.set_xticks(range(size), names, rotation=90)
        axes.set_yticks(range(size), names)
    if size <= MAX_COUNTED:
        for row, column in np.argwhere(counts > 0):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)
    return _encode_png(figure)


def plot_contact_sheet(images: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> bytes:
    """Plot images (H, W, C) in rows with captions. Only the first three channels are plotted."""
    rows = max(1, -(-len(images) // COLUMNS))
    figure = _create_figure(2.2 * COLUMNS, 2.6 * rows)
    for axes in figure.subplots(rows, COLUMNS, squeeze=False).flat:
        axes.axis("off")
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        pixels = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8)
    return _encode_png(figure)


def _create_figure(width: float, height: float) -> "Figure":
    """Create a figure with the size in inches. pyplot is not used, because it keeps references to figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _encode_png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None}  # no matplotlib version, so that equal plots have equal bytes
    figure.savefig(file, format="png", dpi=100, metadata=metadata)
    return file.getvalue()


def shorten_label(label: str) -> str:
    """Shorten a label to at most 16 characters."""
    return label if len(label) <= 16 else f"{label[:15]}…"
