"""Describes the columns of a table and encodes rows as numbers. Imports and predictions use this module."""

import math
import re
import reprlib
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from core.csv_output import unescape_cell
from core.errors import InvalidRow
from core.spec.error_pointers import MAX_NAMES, find_nearest, format_names, quote_name, shorten_name

MISSING_VALUES = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Strings that mean a missing value, in lower case."""
UNKNOWN_CATEGORY = 0
"""The code of a missing or unknown category. Known categories have codes from 1."""
MAX_FLOAT32 = float(np.finfo(np.float32).max)

_INTEGRAL = re.compile(r"(-?\d+)\.0+")

Rows = NDArray[np.float32]


class Column(BaseModel):
    """One input column. It is categorical if it has `categories`, otherwise numeric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def cardinality(self) -> int:
        """The number of categories, or 0 if the column is numeric."""
        return len(self.categories or ())

    @cached_property
    def codes(self) -> dict[str, int]:
        """The code of each category, from 1."""
        return {category: code for code, category in enumerate(self.categories or (), start=1)}


class Table(BaseModel):
    """The input and target columns of a table.

    A sample is one row, or a `window` of consecutive rows.

    Attributes:
        missing: `drop` removes rows with missing values from the dataset and rejects them in predictions. `impute`
            replaces a missing number with the column's mean, and a missing category with a separate category.
        missing_values: the texts that mean a missing value, besides an empty text. None: `MISSING_VALUES`, in upper or
            lower case. The field is not stored if it is None, so that the hashes of such tables do not change.
        targets: the columns to predict. With a `window`, their values in the `horizon` rows after it are the targets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]
    targets: tuple[str, ...]
    missing: Literal["drop", "impute"] = "drop"
    missing_values: tuple[str, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    window: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] = 1

    @cached_property
    def column_names(self) -> list[str]:
        """The names of the input columns."""
        return [column.name for column in self.columns]

    @cached_property
    def all_names(self) -> frozenset[str]:
        """The names of the input and target columns."""
        return frozenset((*self.column_names, *self.targets))

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of categories of each column, or 0 for numeric columns."""
        return tuple(column.cardinality for column in self.columns)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a sample: (F,) for rows, (T, F) for windows."""
        return (len(self.columns),) if self.window is None else (self.window, len(self.columns))

    def encode_row(self, row: Mapping[str, Any]) -> Rows:
        """Return a row as float32 (F,). Categories are encoded as integer codes, and missing numbers as NaN.

        Args:
            row: values, keyed by column name. An absent column, null, and strings such as "" or "NA" (see
                `missing_values`) count as missing. Values of target columns are ignored.

        Raises:
            InvalidRow: a column is unknown, a value has the wrong type, or a value is missing and `missing` is `drop`.
        """
        for name in row:
            if name not in self.all_names:
                raise self._make_column_error(name)
        return np.asarray([self._encode_value(column, row.get(column.name)) for column in self.columns], np.float32)

    def _make_column_error(self, name: str) -> InvalidRow:
        suggestions = find_nearest(name, self.column_names)
        hint = (
            f"did you mean {' or '.join(map(quote_name, suggestions))}?"
            if suggestions
            else f"the columns are {format_names(self.column_names)}"
        )
        valid = [shorten_name(column) for column in self.column_names[:MAX_NAMES]]
        return InvalidRow(f"Unknown column {quote_name(name)}; {hint}", column=shorten_name(name), known=valid)

    def _encode_value(self, column: Column, value: object) -> float:
        if is_missing(value, self.missing_values):
            if self.missing == "drop":
                raise InvalidRow(
                    f"{quote_name(column.name)} is missing. The model accepts complete rows only. Send a value, or "
                    "train a model on a dataset version that was imported with `missing=impute`.",
                    column=column.name,
                )
            return math.nan if column.categories is None else UNKNOWN_CATEGORY
        if column.categories is not None:
            return column.codes.get(format_category(column.name, value), UNKNOWN_CATEGORY)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_FLOAT32:
            raise InvalidRow(
                f"{quote_name(column.name)} must be a finite number, got {reprlib.repr(value)}", column=column.name
            )
        return float(value)


def is_missing(value: object, missing_values: Collection[str] | None = None) -> bool:
    """Return whether the value represents a missing value: null, NaN, an empty string, or one of `missing_values`.

    Args:
        value: a JSON value, or the text of a CSV file.
        missing_values: the strings that mean a missing value, exactly as written. A number is compared by its text,
            such as `-999`. None: `MISSING_VALUES`, in upper or lower case.
    """
    if missing_values is None:
        if isinstance(value, str):
            return value.strip().lower() in MISSING_VALUES
        return value is None or (isinstance(value, float) and math.isnan(value))
    match value:
        case str():
            return not (text := value.strip()) or text in missing_values
        case None:
            return True
        case float() if math.isnan(value):
            return True
        case bool():
            return False
        case int() | float() if abs(value) <= MAX_FLOAT32:
            return format_number(float(value)) in missing_values
    return False


def encode_category(categories: tuple[str, ...], text: str) -> int:
    """Return the code of a category, counted from 1, or `UNKNOWN_CATEGORY` if it is not in the list."""
    try:
        return categories.index(text) + 1
    except ValueError:
        return UNKNOWN_CATEGORY


def format_category(column: str, value: object) -> str:
    """Return the category name for a value.

    Numbers are formatted without trailing zeros, and booleans as `true` and `false`.

    Raises:
        InvalidRow: the value is an array or an object.
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return format_number(float(value))
        case str():
            return normalize_category(value.strip())
        case _:
            raise InvalidRow(
                f"{quote_name(column)} must be a string, number or boolean, got {reprlib.repr(value)}", column=column
            )


def normalize_category(text: str) -> str:
    """Return the normalized name of a category: `3.0` becomes `3`, `True` becomes `true`, `'=x` becomes `=x`."""
    text = unescape_cell(text)
    if text.lower() in {"true", "false"}:
        return text.lower()
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else text


def format_number(number: float) -> str:
    """Return a number as text, without a trailing `.0`."""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
