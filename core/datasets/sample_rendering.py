"""Shows single samples of a packed dataset: images as PNG, rows with the values of their columns, and their labels."""

import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.datasets.columns import UNKNOWN_CATEGORY, Column, Table
from core.datasets.packed import PackedMeta, Targets

_THRESHOLD = 0.5  # of a target from 0 to 1 that means a class of its sample
_RGB = 3

Cell = float | str | None


def encode_image(pixels_hwc: NDArray[np.uint8], size: int | None = None) -> bytes:
    """Return an image as a PNG file: RGB from the first three channels, or grey from the first channel.

    Args:
        pixels_hwc: uint8, (H, W, C).
        size: the longer side of the result in pixels. A smaller image is enlarged with visible pixels. Default: the
            size of the image.
    """
    displayed = pixels_hwc[..., :_RGB] if pixels_hwc.shape[-1] >= _RGB else pixels_hwc[..., 0]
    image = Image.fromarray(np.ascontiguousarray(displayed))
    if size is not None:
        scale = size / max(image.size)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(target, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def decode_rows(table: Table, rows: NDArray[np.float32]) -> list[dict[str, Cell]]:
    """Return stored rows, (T, F), with the values of their columns. A missing or unknown value is None."""
    return [
        {column.name: _decode_value(column, value) for column, value in zip(table.columns, row, strict=True)}
        for row in rows
    ]


def list_labels(meta: PackedMeta, target: NDArray[np.int64] | NDArray[np.float32]) -> list[str]:
    """Return the names of the classes of a sample; an empty list for a regression.

    Args:
        meta: the dataset.
        target: the target of the sample: a scalar array for classification, otherwise (num_outputs,).
    """
    match meta.task:
        case "classification":
            return [meta.classes[int(target)]]
        case "binary":
            return [meta.classes[int(target.reshape(-1)[0] > _THRESHOLD)]]
        case "multilabel":
            return [meta.classes[index] for index in np.flatnonzero(target > _THRESHOLD)]
        case "regression":
            return []


def find_class_samples(meta: PackedMeta, targets: Targets, name: str) -> NDArray[np.int64]:
    """Return the indices of the samples of a class, in ascending order.

    Raises:
        ValueError: the dataset has no class of this name.
    """
    index = meta.classes.index(name)
    if meta.task == "classification":
        return np.flatnonzero(targets == index)
    if meta.task == "binary":
        return np.flatnonzero((targets.reshape(-1) > _THRESHOLD) == bool(index))
    return np.flatnonzero(targets[:, index] > _THRESHOLD)


def to_numbers(values: Sequence[np.float32] | NDArray[np.float32]) -> list[float]:
    """Return 32-bit numbers as the shortest decimal numbers that round to them: 0.1 instead of 0.10000000149."""
    return [float(str(value)) for value in values]


def _decode_value(column: Column, value: np.float32) -> Cell:
    if column.categories is not None:
        code = int(value)
        return None if code == UNKNOWN_CATEGORY else column.categories[code - 1]
    return None if math.isnan(value) else float(str(value))
