"""Pictures of results, as PNG: curves, tables, contact sheets. matplotlib is imported once one is drawn, not before."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG = "image/png"
MAX_NAMED, MAX_COUNTED = 40, 20  # classes whose names, and whose counts, can still be read
COLUMNS = 5


def plot_lr_curve(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None
) -> bytes:
    """Losses by learning rate on a logarithmic axis, as luz plots them, with the rate that is suggested."""
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
    """Counts (C, C), truth by row, coloured by their share of the row; numbers and names while they can be read."""
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
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return _encode_png(figure)


def plot_contact_sheet(images: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> bytes:
    """Pictures (H, W, C) in rows, each under its caption; of more than three channels the first three are shown."""
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
    """Of so many inches; without pyplot, which would keep it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _encode_png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None}  # the same numbers give the same bytes
    figure.savefig(file, format="png", dpi=100, metadata=metadata)
    return file.getvalue()


def shorten_label(label: str) -> str:
    """As much of a label as there is room for."""
    return label if len(label) <= 16 else f"{label[:15]}…"
