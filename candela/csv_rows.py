"""Reads table rows for predictions from a CSV file."""

import csv
import re
from pathlib import Path

from candela.errors import CandelaError

Cell = str | float | None
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # no leading zeros, because 07 is an identifier


def read_rows(path: Path) -> list[dict[str, Cell]]:
    """Return the rows below the header. Empty fields are None.

    Raises:
        CandelaError: a row does not have the columns of the header, or the file has no rows.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t|", key=file.readline().count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        rows = []
        for cells in reader:
            if cells and len(cells) != len(header):
                raise CandelaError(f"{path}, line {reader.line_num}: {len(cells)} values, but {len(header)} columns")
            if cells:
                rows.append(dict(zip(header, map(_parse_cell, cells), strict=True)))
    if not rows:
        raise CandelaError(f"{path} has no rows below the header")
    return rows


def _parse_cell(text: str) -> Cell:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else text or None
