"""Rows of a table from a CSV file, as predictions take them."""

import csv
import re
from pathlib import Path

from candela.errors import CandelaError

Cell = str | float | None
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # but not 07, which is a name of something


def read_rows(path: Path) -> list[dict[str, Cell]]:
    """The rows below the header, an empty field as None.

    Raises:
        CandelaError: a row has more or fewer values than the header, or there is none.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t|", key=file.readline().count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        rows = []
        for cells in reader:
            if cells and len(cells) != len(header):
                raise CandelaError(f"{path}, line {reader.line_num}: {len(cells)} values for {len(header)} columns")
            if cells:
                rows.append(dict(zip(header, map(_cell, cells), strict=True)))
    if not rows:
        raise CandelaError(f"{path} has no rows below its first line")
    return rows


def _cell(text: str) -> Cell:
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else text or None
