"""The Palmer penguins: a table of three species, from the package `palmerpenguins`."""

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from core.datasets.columns import Column, Table, encode_category, is_missing
from core.datasets.definition import BuiltinDataset, DatasetInfo
from core.datasets.tables.csv_file import CsvFile
from core.datasets.tables.writer import TableSplit
from core.errors import CorruptFile
from core.spec.base import Spec

_NUM_ROWS, _NUM_COMPLETE = 344, 333
_CATEGORIES = {
    "species": ("Adelie", "Chinstrap", "Gentoo"),
    "island": ("Biscoe", "Dream", "Torgersen"),
    "sex": ("female", "male"),
}
_NUM_MISSING = {"island": 0, "sex": 11, "species": 0}  # number of rows without a value; all other columns: 2
PenguinColumn = Literal[
    "species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"
]
_DEFAULT_COLUMNS: tuple[PenguinColumn, ...] = (
    "bill_length_mm",
    "bill_depth_mm",
    "flipper_length_mm",
    "body_mass_g",
    "island",
    "sex",
)


class PenguinOptions(Spec):
    """The target and the input columns. With `missing: drop`, only the 333 complete rows (of 344) are used."""

    target: PenguinColumn = "species"
    columns: Annotated[tuple[PenguinColumn, ...], Field(strict=False, min_length=1, max_length=16)] | None = Field(
        default=None,
        description="The input columns. Default: all measurements, `island` and `sex`, without the target.",
    )
    missing: Literal["drop", "impute"] = "drop"

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.target in (self.columns or ()):
            raise ValueError(f"columns must not contain the target {self.target!r}")
        if len({*self.input_columns}) != len(self.input_columns):
            raise ValueError("columns must not contain a name twice")
        return self

    @property
    def input_columns(self) -> tuple[PenguinColumn, ...]:
        """The names of the input columns."""
        return self.columns or tuple(name for name in _DEFAULT_COLUMNS if name != self.target)


def _build_info(options: PenguinOptions, _folder: Path | None) -> DatasetInfo:
    columns = tuple(Column(name=name, categories=_CATEGORIES.get(name)) for name in options.input_columns)
    table = Table(columns=columns, targets=(options.target,), missing=options.missing)
    num_rows = _NUM_COMPLETE if options.missing == "drop" else _NUM_ROWS - _NUM_MISSING.get(options.target, 2)
    classes = _CATEGORIES.get(options.target)
    if classes is None:
        return DatasetInfo("regression", (options.target,), 1, table.sample_shape, {"train": num_rows}, table)
    return DatasetInfo("classification", classes, len(classes), table.sample_shape, {"train": num_rows}, table)


@lru_cache(maxsize=1)
def _load_penguins() -> tuple[dict[str, str], ...]:
    """Return the rows of the CSV file in the package. The package is not imported, because it would import pandas."""
    package = importlib.util.find_spec("palmerpenguins")
    if package is None or not package.submodule_search_locations:
        raise CorruptFile("The package palmerpenguins is not installed.")
    file = CsvFile(Path(package.submodule_search_locations[0]) / "data" / "penguins.csv")
    return tuple(
        dict(zip(file.header, row, strict=True))
        for block in file.read_blocks()
        for row in zip(*block.columns, strict=True)
    )


def _read_rows(_folder: Path, options: PenguinOptions) -> Mapping[str, TableSplit]:
    dataset_info = _build_info(options, None)
    required = None if options.missing == "drop" else {options.target}
    retained = [
        (str(number), row)
        for number, row in enumerate(_load_penguins(), start=1)
        if not any(is_missing(value) for name, value in row.items() if required is None or name in required)
    ]
    if len(retained) != dataset_info.splits["train"]:
        raise CorruptFile(f"penguins.csv has {len(retained)} usable rows, expected {dataset_info.splits['train']}.")
    numbers = [[_encode_value(name, row[name]) for name in options.input_columns] for _, row in retained]
    targets = np.asarray([_encode_value(options.target, row[options.target]) for _, row in retained])
    is_class = dataset_info.task == "classification"
    cast_targets = (targets - 1).astype(np.int64) if is_class else targets.astype(np.float32)[:, np.newaxis]
    return {"train": TableSplit(np.asarray(numbers, np.float32), cast_targets, [name for name, _ in retained])}


def _encode_value(name: str, text: str) -> float:
    categories = _CATEGORIES.get(name)
    if categories is not None:
        return encode_category(categories, text)
    return np.nan if is_missing(text) else float(text)


PALMERPENGUINS = BuiltinDataset(
    name="palmerpenguins",
    summary="344 penguins of three species: four measurements, island and sex. Requires no download.",
    source="Horst, Hill and Gorman, palmerpenguins, 2020; data of Gorman, Williams and Fraser, 2014",
    licence="CC0",
    options=PenguinOptions,
    build_info=_build_info,
    read_rows=_read_rows,
)
