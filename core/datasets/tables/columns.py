"""What the columns of a table mean, and a row as numbers: imports and predictions share it, so they cannot differ."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.errors import InvalidRow
from core.spec.error_pointers import nearest

MISSING_VALUES = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""What stands for a value that is not there, in lower case."""
UNKNOWN_CATEGORY = 0
"""The number of a category that is missing, or was not there in training; those that were count from 1."""
MAX_FLOAT32 = float(np.finfo(np.float32).max)

_INTEGRAL = re.compile(r"(-?\d+)\.0+")

Rows = NDArray[np.float32]


class Column(BaseModel):
    """One column that a network reads: numbers, unless it has `categories`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def cardinality(self) -> int:
        """The number of categories; 0 for numbers."""
        return len(self.categories or ())


class Table(BaseModel):
    """What a sample of a table is made of: one row, or a `window` of rows one after the other.

    `missing` says what becomes of a row with a value that is not there: `drop` leaves it out, and refuses it in a
    prediction; `impute` takes the mean of a number's column, and a category of its own. Of a window, `targets` are the
    columns whose next `horizon` rows are predicted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]
    targets: tuple[str, ...]
    missing: Literal["drop", "impute"] = "drop"
    window: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] = 1

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """One a column: the number of categories, 0 for numbers."""
        return tuple(column.cardinality for column in self.columns)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(F,) of a row; (T, F) of a window."""
        return (len(self.columns),) if self.window is None else (self.window, len(self.columns))

    def encode_row(self, row: Mapping[str, Any]) -> Rows:
        """Return a row as numbers, float32 (F,): categories by their number, and NaN for numbers that are missing.

        Args:
            row: values by column; a column left out, null, and a text such as "" or "NA" are missing. The targets'
                own values are not looked at.

        Raises:
            InvalidRow: a column that there is not, a value of the wrong kind, or one that is missing and may not be.
        """
        names = self.column_names
        for name in row:
            if name not in names and name not in self.targets:
                suggestions = nearest(name, names)
                hint = (
                    f"did you mean {' or '.join(map(repr, suggestions))}?"
                    if suggestions
                    else f"there are {', '.join(names)}"
                )
                raise InvalidRow(f"There is no column {name!r}; {hint}", column=name, known=names)
        return np.asarray([self._encode_value(column, row.get(column.name)) for column in self.columns], np.float32)

    def _encode_value(self, column: Column, value: object) -> float:
        if is_missing(value):
            if self.missing == "drop":
                raise InvalidRow(
                    f"{column.name!r} is missing; the model was trained on whole rows only. Give a value, or train on "
                    "a version that was imported with `missing=impute`.",
                    column=column.name,
                )
            return math.nan if column.categories is None else UNKNOWN_CATEGORY
        if column.categories is not None:
            return encode_category(column.categories, format_category(column.name, value))
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_FLOAT32:
            raise InvalidRow(f"{column.name!r} is {value!r}; a finite number is needed", column=column.name)
        return float(value)


def is_missing(value: object) -> bool:
    """Whether it stands for a value that is not there."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_VALUES
    return value is None or (isinstance(value, float) and math.isnan(value))


def encode_category(categories: tuple[str, ...], text: str) -> int:
    """The place of a category, from 1; `UNKNOWN` for any other text."""
    try:
        return categories.index(text) + 1
    except ValueError:
        return UNKNOWN_CATEGORY


def format_category(column: str, value: object) -> str:
    """A category as a table writes it: numbers without needless zeros, `true` and `false` in lower case.

    Raises:
        InvalidRow: a list or an object.
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return format_number(float(value))
        case str():
            return normalize_category(value.strip())
        case _:
            raise InvalidRow(f"{column!r} is {value!r}; a text or a number is needed", column=column)


def normalize_category(text: str) -> str:
    """A category's text, whoever wrote it: `3.0` is `3`, `True` is `true`."""
    if text.lower() in {"true", "false"}:
        return text.lower()
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else text


def format_number(number: float) -> str:
    """A number as people write it: 3 rather than 3.0."""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
