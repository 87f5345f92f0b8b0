"""Reads table rows for predictions from a CSV file, in the same way as an import."""

import re
from pathlib import Path

from candela.csv_dialect import read_csv
from candela.errors import CandelaError

Cell = str | float | None
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # no leading zeros, because 07 is an identifier


def read_rows(path: Path) -> list[dict[str, Cell]]:
    """Return the rows below the header. Empty fields are None. Row labels, a first column without a name, are left out.

    Raises:
        CandelaError: a row does not have the columns of the header, or the file has no rows.
    """
    table = read_csv(path)
    if not table.rows:
        raise CandelaError(f"{path} has no rows below the header")
    return [{name: _parse_cell(text) for name, text in zip(table.header, row, strict=True)} for row in table.rows]


def _parse_cell(text: str) -> Cell:
    return float(text) if _NUMBER.fullmatch(text) else text or None
