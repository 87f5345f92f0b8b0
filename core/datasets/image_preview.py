"""The preview of an image dataset: a contact sheet with a few training images of each class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.datasets.packed import PackedDataset

PREVIEW_FILE = "preview.png"
_COLUMNS, _ROWS, _PER_CLASS = 4, 8, 4  # classes per row, rows of classes, images per class
_TILE, _TEXT_HEIGHT, _MARGIN = 48, 14, 6


def write_image_preview(folder: Path) -> None:
    """Write `preview.png` into the folder of a packed dataset."""
    packed = PackedDataset.open(folder)
    groups = _select_samples(packed)
    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    cell_width, cell_height = _PER_CLASS * _TILE + _MARGIN, _TEXT_HEIGHT + _TILE + _MARGIN
    sheet = Image.new("RGB", (columns * cell_width + _MARGIN, rows * cell_height + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    images = packed.read_split("train").images
    for at, (label, indices) in enumerate(groups):
        left = _MARGIN + at % columns * cell_width
        top = _MARGIN + at // columns * cell_height
        draw.text((left, top), _shorten_label(label, draw, font), fill="black", font=font)
        for position, index in enumerate(indices):
            sheet.paste(_render_tile(images[index]), (left + position * _TILE, top + _TEXT_HEIGHT))
    sheet.save(folder / PREVIEW_FILE, "PNG")


def _select_samples(packed: PackedDataset) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the label and sample indices of each group: one class or, for regression, consecutive samples."""
    targets = packed.read_split("train").targets
    meta = packed.meta
    if meta.task == "regression":
        first = np.arange(min(len(targets), _PER_CLASS * _ROWS), dtype=np.int64)
        return [(f"from {part[0]}", part) for part in np.array_split(first, -(-len(first) // _PER_CLASS))]
    classes = meta.classes[: _COLUMNS * _ROWS]
    if meta.task == "multilabel":
        return [(name, np.flatnonzero(targets[:, i] > 0)[:_PER_CLASS]) for i, name in enumerate(classes)]
    labels = targets.reshape(-1)
    return [(name, np.flatnonzero(labels == i)[:_PER_CLASS]) for i, name in enumerate(classes)]


def _render_tile(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image scaled to the tile: RGB from the first three channels, or grey from the first channel."""
    displayed = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    image = Image.fromarray(np.ascontiguousarray(displayed)).convert("RGB")
    scale = (_TILE - 2) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _shorten_label(label: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    width = _PER_CLASS * _TILE
    if draw.textlength(label, font) <= width:
        return label
    while label and draw.textlength(label + "…", font) > width:
        label = label[:-1]
    return label + "…"
