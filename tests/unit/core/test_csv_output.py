"""Strings that a spreadsheet would evaluate are escaped in CSV files."""

from typing import Any

import pytest

from core.csv_output import escape_cell, unescape_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_string_that_starts_like_a_formula_has_a_leading_quote(start: str) -> None:
    text = f'{start}HYPERLINK("http://example.org")'
    assert escape_cell(text) == f"'{text}"
    assert unescape_cell(f"'{text}") == text


@pytest.mark.parametrize("value", [-1.5, -3, 0, None, True, "", "cat", "a=b", "'=1", " =1", "x-1"])
def test_other_cells_are_unchanged(value: Any) -> None:
    assert escape_cell(value) is value


@pytest.mark.parametrize("text", ["", "'", "'a", "''=x", "=x", "-1"])
def test_texts_that_are_not_escaped_are_unchanged(text: str) -> None:
    assert unescape_cell(text) == text
