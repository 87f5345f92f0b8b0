"""Palmer's penguins: three species by what was measured of them, from the package of that name."""

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from core.datasets.definition import BuiltIn, DatasetFacts
from core.datasets.tables.columns import Column, Table, is_missing, number_of
from core.datasets.tables.csv_file import CsvFile
from core.datasets.tables.writer import TableSplit
from core.errors import CorruptFile
from core.spec.base import Spec

_NUM_ROWS, _NUM_WHOLE = 344, 333
_CATEGORIES = {
    "species": ("Adelie", "Chinstrap", "Gentoo"),
    "island": ("Biscoe", "Dream", "Torgersen"),
    "sex": ("female", "male"),
}
_NUM_MISSING = {"island": 0, "sex": 11, "species": 0}  # of the others, 2
Name = Literal["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"]
_USUAL: tuple[Name, ...] = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "island", "sex")


class PenguinOptions(Spec):
    """What is predicted from what; with `missing: drop`, from the penguins of which everything is known, 333 of 344."""

    target: Name = "species"
    columns: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="Four measures, the island and the sex, but for the target, unless given."
    )
    missing: Literal["drop", "impute"] = "drop"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.target in (self.columns or ()):
            raise ValueError(f"{self.target!r} cannot be predicted from itself")
        if len({*self.read}) != len(self.read):
            raise ValueError("a column is named twice")
        return self

    @property
    def read(self) -> tuple[Name, ...]:
        return self.columns or tuple(name for name in _USUAL if name != self.target)


def _facts(options: PenguinOptions, _folder: Path | None) -> DatasetFacts:
    columns = tuple(Column(name=name, categories=_CATEGORIES.get(name)) for name in options.read)
    table = Table(columns=columns, targets=(options.target,), missing=options.missing)
    whole = _NUM_WHOLE if options.missing == "drop" else _NUM_ROWS - _NUM_MISSING.get(options.target, 2)
    classes = _CATEGORIES.get(options.target)
    if classes is None:
        return DatasetFacts("regression", (options.target,), 1, table.sample_shape, {"train": whole}, table)
    return DatasetFacts("classification", classes, len(classes), table.sample_shape, {"train": whole}, table)


@lru_cache(maxsize=1)
def _penguins() -> tuple[dict[str, str], ...]:
    """Return the rows of the package's file; the package itself is not imported, as that imports pandas."""
    found = importlib.util.find_spec("palmerpenguins")
    if found is None or not found.submodule_search_locations:
        raise CorruptFile("The package palmerpenguins is not installed.")
    file = CsvFile(Path(found.submodule_search_locations[0]) / "data" / "penguins.csv")
    return tuple(
        dict(zip(file.header, row, strict=True)) for block in file.blocks() for row in zip(*block.columns, strict=True)
    )


def _rows(_folder: Path, options: PenguinOptions) -> Mapping[str, TableSplit]:
    facts = _facts(options, None)
    needed = None if options.missing == "drop" else {options.target}
    kept = [
        (str(number), row)
        for number, row in enumerate(_penguins(), start=1)
        if not any(is_missing(value) for name, value in row.items() if needed is None or name in needed)
    ]
    if len(kept) != facts.splits["train"]:
        raise CorruptFile(f"penguins.csv is another file than expected: {len(kept)} rows, not {facts.splits['train']}.")
    numbers = [[_number(name, row[name]) for name in options.read] for _, row in kept]
    targets = np.asarray([_number(options.target, row[options.target]) for _, row in kept])
    is_class = facts.task == "classification"
    typed = (targets - 1).astype(np.int64) if is_class else targets.astype(np.float32)[:, np.newaxis]
    return {"train": TableSplit(np.asarray(numbers, np.float32), typed, [name for name, _ in kept])}


def _number(name: str, text: str) -> float:
    categories = _CATEGORIES.get(name)
    if categories is not None:
        return number_of(categories, text)
    return np.nan if is_missing(text) else float(text)


PALMERPENGUINS = BuiltIn(
    name="palmerpenguins",
    summary="344 penguins of three species, by four measures, island and sex; needs no files.",
    source="Horst, Hill and Gorman, palmerpenguins, 2020; data of Gorman, Williams and Fraser, 2014",
    licence="CC0",
    options=PenguinOptions,
    describe=_facts,
    rows=_rows,
)
