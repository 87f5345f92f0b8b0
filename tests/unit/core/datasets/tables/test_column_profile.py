"""Statistics of the columns of a table."""

import pytest

from core.datasets.tables import column_profile
from core.datasets.tables.column_profile import ColumnProfile, parse_number, profile_columns
from core.datasets.tables.csv_file import RowBlock


def profile(*values: str) -> ColumnProfile:
    [result] = profile_columns(["a"], [RowBlock(list(range(2, len(values) + 2)), [values])])
    return result


def test_values_are_counted_by_type() -> None:
    result = profile("1", "2.5", "NA", "", "cat")
    assert (result.num_numbers, result.num_texts, result.num_missing) == (2, 1, 2)
    assert (result.num_values, result.num_rows) == (3, 5)
    assert result.first_text == (6, "cat")
    assert not result.is_integral


@pytest.mark.parametrize(("num_texts", "is_numeric"), [(0, True), (1, True), (2, False)])
def test_a_numeric_column_can_have_few_strings(num_texts: int, is_numeric: bool) -> None:
    assert profile(*["1"] * (10 - num_texts), *["x"] * num_texts).is_numeric is is_numeric


def test_an_empty_column_is_not_numeric() -> None:
    assert not profile("", "NA").is_numeric


def test_distinct_values_make_an_identifier() -> None:
    assert profile(*(f"name {i}" for i in range(30))).is_identifier
    assert not profile(*(f"kind {i % 3}" for i in range(30))).is_identifier
    assert not profile(*(f"name {i}" for i in range(20))).is_identifier


def test_too_many_distinct_values_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_profile, "MAX_DISTINCT", 5)
    result = profile(*(str(i) for i in range(6)))
    assert result.counts is None
    assert result.is_identifier
    assert result.num_values == 6


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1.0), (" 2.5 ", 2.5), ("1e3", 1000.0), ("1_000", None), ("inf", None), ("x", None)]
)
def test_finite_numbers_are_parsed(text: str, number: float | None) -> None:
    assert parse_number(text) == number
