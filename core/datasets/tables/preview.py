"""The preview of a table: a histogram of each column."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.datasets.columns import Column
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.packed import PackedDataset

_COLUMNS_PER_ROW, _MAX_COLUMNS = 4, 32  # maximum number of histograms per row, and in total
_WIDTH, _HEIGHT, _TEXT_HEIGHT, _MARGIN = 192, 64, 14, 8
_BINS = 24
_MAX_ROWS = 50_000  # the histograms count at most this many rows


def write_table_preview(folder: Path) -> None:
    """Write `preview.png` into the folder of a packed dataset."""
    packed = PackedDataset.open(folder)
    table = packed.meta.table
    columns = () if table is None else table.columns[:_MAX_COLUMNS]
    rows = packed.read_split("train").images[:_MAX_ROWS]
    values = rows.reshape(-1, rows.shape[-1]) if rows.ndim == 2 else rows[:, 0]
    down = -(-len(columns) // _COLUMNS_PER_ROW)
    cell = (_WIDTH + _MARGIN, _TEXT_HEIGHT + _HEIGHT + _MARGIN)
    sheet = Image.new(
        "RGB", (min(len(columns), _COLUMNS_PER_ROW) * cell[0] + _MARGIN, down * cell[1] + _MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for position, column in enumerate(columns):
        left, top = _MARGIN + position % _COLUMNS_PER_ROW * cell[0], _MARGIN + position // _COLUMNS_PER_ROW * cell[1]
        draw.text((left, top), _format_title(column, values[:, position]), fill="black", font=font)
        _draw_bars(draw, _count_values(column, values[:, position]), left, top + _TEXT_HEIGHT)
    sheet.save(folder / PREVIEW_FILE, "PNG")


def _count_values(column: Column, values: NDArray[np.float32]) -> NDArray[np.int64]:
    if column.categories is not None:
        return np.bincount(values.astype(np.int64), minlength=len(column.categories) + 1)[1 : _BINS + 1]
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite):
        return np.zeros(_BINS, np.int64)
    # Positions in 0..1: numpy cannot divide a range into bins that is small relative to its values, or a range of
    # width 1 around large equal values.
    spread = np.ptp(finite)
    positions = (finite - finite.min()) / spread if spread else np.full(len(finite), 0.5)
    return np.histogram(positions, _BINS, range=(0.0, 1.0))[0]


def _format_title(column: Column, values: NDArray[np.float32]) -> str:
    if column.categories is not None:
        return f"{column.name[:20]}: {len(column.categories)} categories"[:36]
    finite = values[np.isfinite(values)]
    value_range = f"{finite.min():.4g} to {finite.max():.4g}" if len(finite) else "no values"
    return f"{column.name[:18]}: {value_range}"[:36]


def _draw_bars(draw: ImageDraw.ImageDraw, counts: NDArray[np.int64], left: int, top: int) -> None:
    draw.rectangle((left, top, left + _WIDTH, top + _HEIGHT), outline="lightgrey")
    width = _WIDTH / max(len(counts), 1)
    for position, count in enumerate(counts.tolist()):
        height = round(count / max(int(counts.max()), 1) * (_HEIGHT - 2))
        if height:
            edges = (
                left + position * width + 1,
                top + _HEIGHT - height,
                left + (position + 1) * width - 1,
                top + _HEIGHT,
            )
            draw.rectangle(edges, fill="steelblue")
