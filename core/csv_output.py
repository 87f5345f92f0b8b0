"""Escapes strings in CSV files that a spreadsheet would evaluate as formulas, and removes the escapes."""

from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width forms
ESCAPE = "'"


def escape_cell(value: Any) -> Any:  # noqa: ANN401 - any cell
    """Return a cell with a leading `'` if it is a string that starts like a formula; return other cells unchanged.

    Names of classes, columns and files come from users, and spreadsheets evaluate formulas when a file is opened.
    Numbers such as -1.5 are not strings and remain numbers. Source: OWASP, "CSV Injection".
    """
    return ESCAPE + value if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def unescape_cell(text: str) -> str:
    """Return a text without the `'` that `escape_cell` added, so that an export can be imported again."""
    return text[1:] if text.startswith(ESCAPE) and text[1:].startswith(FORMULA_STARTS) else text
