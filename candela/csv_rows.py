"""Reads table rows for predictions from a CSV file, in the same way as an import."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from candela.errors import CandelaError

if TYPE_CHECKING:
    from core.errors import ServiceError

Cell = str | float | None
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")  # no leading zeros, because 07 is an identifier


def read_rows(path: Path) -> list[dict[str, Cell]]:
    """Return the rows below the header. Empty fields are None. Row labels, a first column without a name, are left out.

    Raises:
        CandelaError: a row does not have the columns of the header, or the file has no rows.
    """
    from core.datasets.columns import is_missing
    from core.datasets.ingest.table_source import open_table
    from core.datasets.tables.csv_dialect import DecimalCommas, find_decimal_commas
    from core.datasets.tables.csv_file import CsvFile, is_index_name
    from core.errors import InvalidTable

    rows = []
    try:
        file = CsvFile(path, open_file=open_table)
        commas = DecimalCommas()
        if file.delimiter == ";":
            commas = find_decimal_commas(file.read_blocks(), len(file.header), None, is_missing=is_missing)
        places = [place for place, name in enumerate(file.header) if not is_index_name(name)]
        for block in file.read_blocks(commas):
            columns = [(file.header[place], block.columns[place]) for place in places]
            rows += [
                {name: _parse_cell(values[index]) for name, values in columns} for index in range(len(block.lines))
            ]
    except InvalidTable as error:
        raise CandelaError(_format_error(path, error)) from error
    if not rows:
        raise CandelaError(f"{path} has no rows below the header")
    return rows


def _format_error(path: Path, error: "ServiceError") -> str:
    if "num_values" not in error.extra:
        return f"{path}: {error.detail}"
    num_values, num_columns = error.extra["num_values"], error.extra["num_columns"]
    return f"{path}, line {error.extra['line']}: {num_values} values, but {num_columns} columns"


def _parse_cell(text: str) -> Cell:
    return float(text) if _NUMBER.fullmatch(text) else text or None
