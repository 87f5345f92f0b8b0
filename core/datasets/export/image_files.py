"""Encodes the images of a dataset as the entries of a zip archive: `split/class/name.png`."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.csv_output import escape_cell
from core.datasets.digests import iterate_slices
from core.datasets.edits.class_plan import LABELLED_TASKS
from core.datasets.export.file_names import name_files, name_folders
from core.datasets.export.zip_stream import ZipStream
from core.datasets.packed import Images, PackedDataset, PackedMeta, PackedSplit
from core.datasets.tables.sample_weights import WEIGHTS_COLUMNS, WEIGHTS_FILE
from core.errors import Conflict

_PNG_CHANNELS = (1, 3)
_CHUNK_ROWS = 4096


def check_channels(meta: PackedMeta) -> None:
    """Raise Conflict if the images have no PNG form."""
    channels = meta.image_shape[0]
    if channels not in _PNG_CHANNELS:
        raise Conflict(
            f"Images with {channels} channels cannot be exported as PNG files; 1 and 3 channels are supported.",
            channels=channels,
        )


def encode_images(stream: ZipStream, packed: PackedDataset) -> Iterator[bytes]:
    """Yield the entries of all images in the order of the dataset, and of their targets and weights.

    If each sample has one class, its folder is that of the class. Otherwise the targets are in `train_targets.csv` etc.
    """
    meta = packed.meta
    splits = {name: packed.read_split(name) for name in meta.splits}
    for name, split in splits.items():
        paths = list_paths(name, split, meta)
        for part in iterate_slices(split.images):
            pixels = np.asarray(split.images[part])
            for path, image in zip(paths[part], pixels, strict=True):
                yield stream.encode_entry(path, encode_png(image))
    for name, split in splits.items():
        if meta.task not in LABELLED_TASKS:
            header, columns = ["name", *meta.classes], split.targets.astype(np.float32)
            yield from _encode_csv(stream, f"{name}_targets.csv", header, list_paths(name, split, meta), columns)
    if meta.weighted:
        yield from _encode_weights(stream, splits, meta)


def list_paths(name: str, split: PackedSplit, meta: PackedMeta) -> list[str]:
    """Return the path of each image of a split in the archive, in the order of the dataset."""
    if meta.task not in LABELLED_TASKS:
        return name_files(split.names, f"{name}/")
    labels = np.asarray(split.targets, np.int64).reshape(len(split.names))
    paths = np.empty(len(labels), object)
    for code, folder in enumerate(name_folders(meta.classes)):
        index = np.flatnonzero(labels == code)
        paths[index] = name_files([split.names[at] for at in index.tolist()], f"{name}/{folder}/")
    return list(paths)


def encode_png(image_hwc: Images) -> bytes:
    """Return an image, uint8 (H, W, C) with 1 or 3 channels in RGB order, as a PNG file."""
    pixels: Any = cv2.cvtColor(image_hwc, cv2.COLOR_RGB2BGR) if image_hwc.shape[2] == 3 else image_hwc
    is_encoded, body = cv2.imencode(".png", pixels)
    if not is_encoded:
        raise ValueError(f"an image of the shape {image_hwc.shape} cannot be encoded")
    return bytes(body)


def _encode_weights(stream: ZipStream, splits: dict[str, PackedSplit], meta: PackedMeta) -> Iterator[bytes]:
    yield stream.start_entry(WEIGHTS_FILE)
    yield stream.encode_chunk(format_lines([WEIGHTS_COLUMNS]))
    for name, split in splits.items():
        weights = np.ones(len(split.names), np.float32) if split.weights is None else split.weights
        yield from _encode_rows(stream, list_paths(name, split, meta), weights[:, np.newaxis])
    yield stream.end_entry()


def _encode_csv(
    stream: ZipStream, file: str, header: list[str], paths: list[str], columns: NDArray[np.float32]
) -> Iterator[bytes]:
    yield stream.start_entry(file)
    yield stream.encode_chunk(format_lines([[escape_cell(cell) for cell in header]]))
    yield from _encode_rows(stream, paths, columns)
    yield stream.end_entry()


def _encode_rows(stream: ZipStream, paths: list[str], columns: NDArray[np.float32]) -> Iterator[bytes]:
    for start in range(0, len(paths), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        rows = zip(paths[part], columns[part], strict=True)
        yield stream.encode_chunk(format_lines([path, *map(format_float, values)] for path, values in rows))


def format_lines(rows: Any) -> bytes:  # noqa: ANN401 - an iterable of rows
    """Return rows of cells as the lines of a CSV file in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def format_float(value: np.float32) -> str:
    """Return the shortest text that is parsed as the same 32-bit number; an empty text for NaN."""
    return "" if np.isnan(value) else str(value).removesuffix(".0")
