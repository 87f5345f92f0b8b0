"""A contact sheet: a few training pictures of every class, under the class's name."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.datasets.packed import Packed

PREVIEW = "preview.png"
_COLUMNS, _ROWS, _EACH = 4, 8, 4  # classes across and down, pictures of each
_TILE, _TEXT, _GAP = 48, 14, 6


def write_preview(folder: Path) -> None:
    """Write `preview.png` into a packed folder."""
    packed = Packed.open(folder)
    groups = _groups(packed)
    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    cell_width, cell_height = _EACH * _TILE + _GAP, _TEXT + _TILE + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    images = packed.split("train").images
    for at, (label, indices) in enumerate(groups):
        left = _GAP + at % columns * cell_width
        top = _GAP + at // columns * cell_height
        draw.text((left, top), _shortened(label, draw, font), fill="black", font=font)
        for place, index in enumerate(indices):
            sheet.paste(_tile(images[index]), (left + place * _TILE, top + _TEXT))
    sheet.save(folder / PREVIEW, "PNG")


def _groups(packed: Packed) -> list[tuple[str, NDArray[np.int64]]]:
    """Return (label, indices) for the first classes; samples without a class are one group after another."""
    targets = packed.split("train").targets
    meta = packed.meta
    if meta.task == "regression":
        first = np.arange(min(len(targets), _EACH * _ROWS), dtype=np.int64)
        return [(f"from {part[0]}", part) for part in np.array_split(first, -(-len(first) // _EACH))]
    chosen = meta.classes[: _COLUMNS * _ROWS]
    if meta.task == "multilabel":
        return [(name, np.flatnonzero(targets[:, i] > 0)[:_EACH]) for i, name in enumerate(chosen)]
    labels = targets.reshape(-1)
    return [(name, np.flatnonzero(labels == i)[:_EACH]) for i, name in enumerate(chosen)]


def _tile(pixels: NDArray[np.uint8]) -> Image.Image:
    """Show the first three channels, or the first one as grey, as large as the tile allows."""
    shown = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(shown)).convert("RGB")
    scale = (_TILE - 2) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _shortened(label: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    width = _EACH * _TILE
    if draw.textlength(label, font) <= width:
        return label
    while label and draw.textlength(label + "…", font) > width:
        label = label[:-1]
    return label + "…"
