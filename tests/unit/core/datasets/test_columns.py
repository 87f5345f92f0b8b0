"""Encoding rows of a table as numbers."""

import math
from typing import Any

import numpy as np
import pytest

from core.datasets.columns import UNKNOWN_CATEGORY, Column, Table, normalize_category
from core.errors import InvalidRow

COLUMNS = (
    Column(name="length"),
    Column(name="island", categories=("Biscoe", "Dream")),
    Column(name="year", categories=("2007", "true")),
)
IMPUTING = Table(columns=COLUMNS, targets=("species",), missing="impute")
DROPPING = IMPUTING.model_copy(update={"missing": "drop"})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"length": 3, "island": "Dream", "year": 2007}, [3, 2, 1]),
        ({"length": 3.5, "island": " Dream ", "year": 2007.0}, [3.5, 2, 1]),
        ({"length": -1, "island": "Biscoe", "year": True}, [-1, 1, 2]),
        ({"length": -1, "island": "Biscoe", "year": "2007.0"}, [-1, 1, 1]),
        ({"length": 1, "island": "Torgersen", "year": "2007", "species": "Adelie"}, [1, UNKNOWN_CATEGORY, 1]),
        ({}, [math.nan, UNKNOWN_CATEGORY, UNKNOWN_CATEGORY]),
        ({"length": None, "island": "NA", "year": ""}, [math.nan, UNKNOWN_CATEGORY, UNKNOWN_CATEGORY]),
    ],
)
def test_a_row_is_encoded_as_numbers(row: dict[str, Any], expected: list[float]) -> None:
    encoded = IMPUTING.encode_row(row)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, np.asarray(expected, np.float32))


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        ({"lenght": 3}, "lenght", "did you mean 'length'"),
        ({"qqq": 3}, "qqq", "length, island, year"),
        ({"length": "3"}, "length", "must be a finite number"),
        ({"length": True}, "length", "must be a finite number"),
        ({"length": math.inf}, "length", "must be a finite number"),
        ({"length": 1e300}, "length", "must be a finite number"),
        ({"length": 1, "island": ["Dream"]}, "island", "must be a string, number or boolean"),
    ],
)
def test_an_invalid_value_names_its_column(row: dict[str, Any], column: str, message: str) -> None:
    with pytest.raises(InvalidRow, match=message) as raised:
        IMPUTING.encode_row(row)
    assert raised.value.extra["column"] == column


def test_a_missing_value_is_rejected_with_drop() -> None:
    with pytest.raises(InvalidRow, match="'island' is missing"):
        DROPPING.encode_row({"length": 1, "year": 2007})
    assert DROPPING.encode_row({"length": 1, "island": "Torgersen", "year": 1}).tolist() == [
        1,
        UNKNOWN_CATEGORY,
        UNKNOWN_CATEGORY,
    ]


def test_the_shape_of_a_sample() -> None:
    assert IMPUTING.sample_shape == (3,)
    assert Table(columns=COLUMNS[:1], targets=("length",), window=24).sample_shape == (24, 1)
    assert IMPUTING.cardinalities == (0, 2, 2)


def test_long_values_and_names_are_shortened_in_errors() -> None:
    table = Table(columns=tuple(Column(name=f"{index}" + "c" * 999) for index in range(4096)), targets=("y",))
    for row in ({"q" * 10**6: 1}, {table.column_names[0]: "1" * 10**6}, {table.column_names[0]: [[1] * 1000] * 1000}):
        with pytest.raises(InvalidRow) as raised:
            table.encode_row(row)
        assert len(raised.value.detail) < 3000
        assert len(str(raised.value.extra)) < 5000


def test_names_of_a_wide_row_are_looked_up_in_a_set() -> None:
    table = Table(columns=tuple(Column(name=str(index)) for index in range(4096)), targets=("y",))
    assert isinstance(table.all_names, frozenset)
    assert table.encode_row({str(index): index for index in range(4096)}).tolist() == list(range(4096))


def test_an_escaped_category_is_restored() -> None:
    assert [normalize_category(text) for text in ("'=x", "'x", "3.0", "True")] == ["=x", "'x", "3", "true"]
