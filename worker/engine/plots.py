"""Plots results as PNG: curves, confusion matrices, contact sheets. matplotlib is imported at the first plot."""

import io
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np
from numpy.typing import NDArray

from worker.engine.metric_history import MetricHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

PNG = "image/png"
MAX_NAMED, MAX_COUNTED = 40, 20  # maximum number of classes of a plot with class names, and with counts
COLUMNS = 5
MAX_PANELS, PANEL_COLUMNS, MAX_MARKED = 6, 3, 30
LOG_SCALE_RATIO = 100
SPLIT_COLORS = {"train": "tab:blue", "valid": "tab:orange"}
_LOCK = threading.Lock()


def _draw_alone(plot: Callable[P, bytes]) -> Callable[P, bytes]:
    """Run one plot at a time: matplotlib is not thread-safe, and the learning curve is drawn in a thread."""

    @wraps(plot)
    def draw(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with _LOCK:
            return plot(*args, **kwargs)

    return draw


@_draw_alone
def plot_learning_curve(history: MetricHistory, best_epoch: int | None = None) -> bytes:
    """Plot each metric by epoch, the loss first, with one line per split. Values that are not finite leave gaps.

    At most `MAX_PANELS` metrics are plotted. `best_epoch` is marked.
    """
    panels = _group_by_metric(history)
    names = sorted(panels, key=lambda name: name != "loss")[:MAX_PANELS]
    columns = min(max(1, len(names)), PANEL_COLUMNS)
    rows = max(1, -(-len(names) // columns))
    figure = _create_figure(4.6 * columns, 3.4 * rows, layout=None)  # fixed margins halve the time of the drawing
    _set_margins(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(names) :]:
        axes.axis("off")
    for axes, name in zip(grid, names, strict=False):
        _plot_metric(axes, name, history.epochs, panels[name])
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.5", linestyle=":", label=f"best epoch: {best_epoch}")
        axes.legend(fontsize=8)
    return _encode_png(figure)


def _set_margins(figure: "Figure") -> None:
    """Reserve the same room for labels and titles in a figure of any size, in inches."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.65 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.35 / height, wspace=0.2, hspace=0.4
    )


def _group_by_metric(history: MetricHistory) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the values of each metric by split. Missing and infinite values are NaN."""
    panels: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key, column in history.values.items():
        split, _, name = key.partition("_")
        values = np.array([np.nan if value is None else value for value in column], np.float64)
        panels.setdefault(name, {})[split] = np.where(np.isfinite(values), values, np.nan)
    return panels


def _plot_metric(axes: "Axes", name: str, epochs: Sequence[int], lines: dict[str, NDArray[np.float64]]) -> None:
    from matplotlib.ticker import MaxNLocator

    marker = "o" if len(epochs) <= MAX_MARKED else None
    for split, values in lines.items():
        axes.plot(epochs, values, label=split, color=SPLIT_COLORS.get(split), marker=marker, markersize=3)
    finite = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
    if not len(finite):
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center", va="center", color="0.4")
    elif finite.min() > 0 and finite.max() > LOG_SCALE_RATIO * np.median(finite):
        axes.set_yscale("log")
    first, last = min(epochs), max(epochs)
    axes.set_xlim(first - 0.5, last + 0.5) if last - first < MAX_MARKED else axes.set_xlim(first, last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", title=name)
    axes.grid(alpha=0.3)


@_draw_alone
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


@_draw_alone
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


@_draw_alone
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


def _create_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """Create a figure with the size in inches. pyplot is not used, because it keeps references to figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def _encode_png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None}  # no matplotlib version, so that equal plots have equal bytes
    figure.savefig(file, format="png", dpi=100, metadata=metadata)
    return file.getvalue()


def shorten_label(label: str) -> str:
    """Shorten a label to at most 16 characters."""
    return label if len(label) <= 16 else f"{label[:15]}…"
