"""Weights of single samples: what one may be, and how an archive of pictures tells them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.packed import Weights
from core.datasets.tables.column_profile import to_number
from core.datasets.tables.columns import LARGEST
from core.datasets.tables.csv_file import CsvFile
from core.errors import InvalidArchive, InvalidTable

FILE = "weights.csv"
COLUMNS = ("name", "weight")
TASK_DEFAULTS = 1.0  # of a picture that the file does not name


class WeightEntry(NamedTuple):
    """The weight of a picture, and the line of the file that tells it."""

    weight: float
    line: int


def validation_error(text: str) -> str | None:
    """What is wrong with a weight as a table writes it, if anything."""
    number = to_number(text)
    if number is None or abs(number) > LARGEST:
        return "is no finite number of 32 bits"
    return "is below 0" if number < 0 else None


def read(path: Path, folder: Sequence[str], names: Collection[str]) -> dict[str, float]:
    """The weights of pictures by their whole names, from a file of the columns `name` and `weight`.

    Args:
        path: a CSV file.
        folder: that of the archive in which the file lies; names are below it.
        names: of all pictures that there are.

    Raises:
        InvalidArchive: a line cannot be read, names no picture, or one that was named before.
    """
    try:
        told = _told(CsvFile(path), folder)
    except InvalidTable as error:
        raise _bad(error.detail, **error.facts) from error
    for name, (_, line) in told.items():
        if name not in names:
            raise _bad(f"Line {line}: there is no picture {name[:200]!r} in the archive.", line=line)
    return {name: weight for name, (weight, _) in told.items()}


def _told(file: CsvFile, folder: Sequence[str]) -> dict[str, WeightEntry]:
    missing = [column for column in COLUMNS if column not in file.header]
    if missing:
        raise _bad(f"The first line must name the columns {' and '.join(COLUMNS)}.", missing=missing)
    told: dict[str, WeightEntry] = {}
    places = [file.header.index(column) for column in COLUMNS]
    for block in file.blocks():
        names, weights = (block.columns[place] for place in places)
        for line, name, text in zip(block.lines, names, weights, strict=True):
            whole = "/".join((*folder, name.removeprefix("./")))
            if why := validation_error(text):
                raise _bad(f"Line {line}: the weight {text[:40]!r} {why}.", line=line)
            if whole in told:
                raise _bad(f"Line {line}: {name[:200]!r} has a weight already, on line {told[whole].line}.", line=line)
            told[whole] = WeightEntry(float(text), line)
    return told


def of(names: Sequence[str], told: Mapping[str, float]) -> Weights:
    """The weights of samples, float32 (N,)."""
    return np.asarray([told.get(name, TASK_DEFAULTS) for name in names], np.float32)


def to_json(weights: Weights) -> dict[str, Any]:
    """What a report says of them."""
    return {
        "min": float(weights.min()),
        "max": float(weights.max()),
        "mean": float(weights.mean(dtype=np.float64)),
        "num_zero": int((weights == 0).sum()),
    }


def _bad(why: str, **facts: Any) -> InvalidArchive:  # noqa: ANN401 - any JSON value
    return InvalidArchive(f"{FILE}: {why}", **facts | {"code": "dataset_bad_weights"})
