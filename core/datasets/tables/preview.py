"""A table at a glance: how often which values come, a small picture a column."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.datasets.image_preview import PREVIEW
from core.datasets.packed import Packed
from core.datasets.tables.columns import Column

_ACROSS, _MOST = 4, 32  # columns are shown
_WIDTH, _HEIGHT, _TEXT, _GAP = 192, 64, 14, 8
_BINS = 24
_SEEN = 50_000  # rows that are looked at


def write_table_preview(folder: Path) -> None:
    """Write `preview.png` into a packed folder."""
    packed = Packed.open(folder)
    table = packed.meta.table
    columns = () if table is None else table.columns[:_MOST]
    rows = packed.split("train").images[:_SEEN]
    values = rows.reshape(-1, rows.shape[-1]) if rows.ndim == 2 else rows[:, 0]
    down = -(-len(columns) // _ACROSS)
    cell = (_WIDTH + _GAP, _TEXT + _HEIGHT + _GAP)
    sheet = Image.new("RGB", (min(len(columns), _ACROSS) * cell[0] + _GAP, down * cell[1] + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for place, column in enumerate(columns):
        left, top = _GAP + place % _ACROSS * cell[0], _GAP + place // _ACROSS * cell[1]
        draw.text((left, top), _title(column, values[:, place]), fill="black", font=font)
        _bars(draw, _counts(column, values[:, place]), left, top + _TEXT)
    sheet.save(folder / PREVIEW, "PNG")


def _counts(column: Column, values: NDArray[np.float32]) -> NDArray[np.int64]:
    if column.categories is not None:
        return np.bincount(values.astype(np.int64), minlength=len(column.categories) + 1)[1 : _BINS + 1]
    there = values[np.isfinite(values)].astype(np.float64)
    return np.histogram(there, _BINS)[0] if len(there) else np.zeros(_BINS, np.int64)


def _title(column: Column, values: NDArray[np.float32]) -> str:
    if column.categories is not None:
        return f"{column.name[:20]}: {len(column.categories)} categories"[:36]
    there = values[np.isfinite(values)]
    between = f"{there.min():.4g} to {there.max():.4g}" if len(there) else "no values"
    return f"{column.name[:18]}: {between}"[:36]


def _bars(draw: ImageDraw.ImageDraw, counts: NDArray[np.int64], left: int, top: int) -> None:
    draw.rectangle((left, top, left + _WIDTH, top + _HEIGHT), outline="lightgrey")
    width = _WIDTH / max(len(counts), 1)
    for place, count in enumerate(counts.tolist()):
        height = round(count / max(int(counts.max()), 1) * (_HEIGHT - 2))
        if height:
            edges = (left + place * width + 1, top + _HEIGHT - height, left + (place + 1) * width - 1, top + _HEIGHT)
            draw.rectangle(edges, fill="steelblue")
