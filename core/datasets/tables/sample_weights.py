"""Validates sample weights, and reads the `weights.csv` of an archive of images."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.columns import MAX_FLOAT32
from core.datasets.packed import Weights
from core.datasets.tables.column_profile import parse_number
from core.datasets.tables.csv_dialect import DecimalCommas, find_decimal_commas
from core.datasets.tables.csv_file import CsvFile
from core.errors import InvalidArchive, InvalidTable

WEIGHTS_FILE = "weights.csv"
WEIGHTS_COLUMNS = ("name", "weight")
DEFAULT_WEIGHT = 1.0  # the weight of images that the file does not list


class WeightEntry(NamedTuple):
    """The weight of an image, and its line in the file."""

    weight: float
    line: int


def find_weight_fault(text: str) -> str | None:
    """Return the reason why the text is not a valid weight, or None if it is valid."""
    number = parse_number(text)
    if number is None or abs(number) > MAX_FLOAT32:
        return "is not a finite 32-bit number"
    return "is below 0" if number < 0 else None


def read_weights(path: Path, folder: Sequence[str], names: Collection[str]) -> dict[str, float]:
    """Read a file with the columns `name` and `weight`. Return the weights, keyed by the full path of the image.

    Args:
        path: a CSV file.
        folder: the folder of the CSV file in the archive. The names in the file are relative to this folder.
        names: the paths of all images.

    Raises:
        InvalidArchive: a line cannot be read, or names an image that does not exist or already has a weight.
    """
    try:
        entries = _read_entries(CsvFile(path), folder)
    except InvalidTable as error:
        raise _make_weights_error(error.detail, **error.extra) from error
    for name, (_, line) in entries.items():
        if name not in names:
            raise _make_weights_error(f"Line {line}: the archive has no image {name[:200]!r}.", line=line)
    return {name: weight for name, (weight, _) in entries.items()}


def _read_entries(file: CsvFile, folder: Sequence[str]) -> dict[str, WeightEntry]:
    missing = [column for column in WEIGHTS_COLUMNS if column not in file.header]
    if missing:
        raise _make_weights_error(
            f"The first line has no column {missing[0]!r}; it must have the columns {' and '.join(WEIGHTS_COLUMNS)}.",
            missing=missing,
        )
    entries: dict[str, WeightEntry] = {}
    positions = [file.header.index(column) for column in WEIGHTS_COLUMNS]
    commas = DecimalCommas()
    if file.delimiter == ";":
        commas = find_decimal_commas(
            file.read_blocks(), len(file.header), None, is_missing=lambda text: not text, numeric=positions[1:]
        )
    for block in file.read_blocks(commas):
        names, weights = (block.columns[place] for place in positions)
        for line, name, text in zip(block.lines, names, weights, strict=True):
            full_name = "/".join((*folder, name.removeprefix("./")))
            if fault := find_weight_fault(text):
                raise _make_weights_error(f"Line {line}: the weight {text[:40]!r} {fault}.", line=line)
            if full_name in entries:
                raise _make_weights_error(
                    f"Line {line}: {name[:200]!r} already has a weight in line {entries[full_name].line}.", line=line
                )
            entries[full_name] = WeightEntry(float(text), line)
    return entries


def align_weights(names: Sequence[str], weights_by_name: Mapping[str, float]) -> Weights:
    """Return one weight for each name, float32 (N,). Names without a weight get `DEFAULT_WEIGHT`."""
    return np.asarray([weights_by_name.get(name, DEFAULT_WEIGHT) for name in names], np.float32)


def summarize_weights(weights: Weights) -> dict[str, Any]:
    """Return the statistics of the weights for the import report."""
    return {
        "min": float(weights.min()),
        "max": float(weights.max()),
        "mean": float(weights.mean(dtype=np.float64)),
        "num_zero": int((weights == 0).sum()),
    }


def _make_weights_error(reason: str, **extra: Any) -> InvalidArchive:  # noqa: ANN401 - any JSON value
    return InvalidArchive(f"{WEIGHTS_FILE}: {reason}", **extra | {"code": "dataset_bad_weights"})
