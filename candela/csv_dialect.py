"""Reads CSV files in the dialects that the service imports: encodings, delimiters, decimal commas, gzip.

It repeats `core.datasets.tables` in short, because the client is installed without `core`. A contract test compares
both.
"""

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from candela.errors import CandelaError

DELIMITERS = (",", ";", "\t", "|")
INDEX_NAME = "Unnamed: 0"
"""The name of a first column without a name: the row labels that pandas and R write."""
_GZIP_MAGIC = b"\x1f\x8b\x08"
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")
_ESCAPED_FORMULA = re.compile(r"'(?=[=+\-@\t\r\n＝＋－＠])")  # noqa: RUF001 - full-width forms
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_SAMPLE_LINES = 200
_MIN_NUMERIC_SHARE = 0.9


class CsvTable(NamedTuple):
    """The header of a table, and its rows as texts."""

    header: list[str]
    rows: list[list[str]]


def read_csv(path: Path) -> CsvTable:
    """Read a table without its column of row labels. Numbers with decimal commas get decimal points.

    Raises:
        CandelaError: the text cannot be decoded, or a row does not have the columns of the header.
    """
    lines = _read_text(path).splitlines(keepends=True)
    match = _SEPARATOR_LINE.fullmatch(lines[0]) if lines else None
    separator = match[1] if match and match[1] in DELIMITERS else None
    num_skipped = 0 if separator is None else 1
    delimiter = separator or detect_delimiter(lines)
    rows = list(_parse_rows(path, lines[num_skipped:], delimiter, num_skipped))
    if not rows or not any(rows[0]):
        raise CandelaError(f"{path} is empty: its first line has no column names")
    header = [_ESCAPED_FORMULA.sub("", name) for name in rows[0]]
    header[0] = header[0] or INDEX_NAME
    table = CsvTable(header, rows[1:])
    if delimiter == ";":
        _replace_decimal_commas(table)
    places = [place for place, name in enumerate(header) if not _is_index_name(name)]
    return CsvTable([header[place] for place in places], [[row[place] for place in places] for row in table.rows])


def detect_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that divides the header, and the first rows into as many values as the header.

    If several do, one that leaves no column but the first without a name is preferred, then the most frequent one.
    """
    sample = lines[:_SAMPLE_LINES]
    is_whole = len(lines) <= _SAMPLE_LINES
    ranks = {delimiter: _rank_delimiter(sample, delimiter, is_whole=is_whole) for delimiter in DELIMITERS}
    if any(rank is not None for rank in ranks.values()):
        return max(DELIMITERS, key=lambda delimiter: ranks[delimiter] or (False, False, False, 0))
    header = _QUOTED.sub("", next((line for line in sample if line.strip()), ""))
    return max(DELIMITERS, key=header.count)


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        mark, encoding = next((entry for entry in _MARKS if content.startswith(entry[0])), (b"", "utf-8"))
        return content.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        raise CandelaError(f"{path} is not {error.encoding.upper()} text; save the file as UTF-8") from error
    except (OSError, EOFError) as error:
        raise CandelaError(f"{path} is a damaged gzip file: {error}") from error


def _parse_rows(path: Path, lines: Sequence[str], delimiter: str, num_skipped: int) -> Iterator[list[str]]:
    reader = csv.reader(
        io.StringIO("".join(lines), newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    num_columns = 0
    try:
        for cells in filter(None, reader):
            num_columns = num_columns or len(cells)
            if len(cells) != num_columns:
                line = reader.line_num + num_skipped
                raise CandelaError(f"{path}, line {line}: {len(cells)} values, but {num_columns} columns")
            yield [cell.strip() for cell in cells]
    except csv.Error as error:
        raise CandelaError(f"{path}, line {reader.line_num + num_skipped}: {error}") from error


def _rank_delimiter(sample: Sequence[str], delimiter: str, *, is_whole: bool) -> tuple[bool, bool, bool, int] | None:
    """Return whether the delimiter is in the header, rows match the header, columns have names, and their number."""
    reader = csv.reader(sample, delimiter=delimiter, strict=True, skipinitialspace=True)
    header: list[str] = []
    is_consistent = True
    try:
        for cells in reader:
            header = header or cells
            is_consistent = is_consistent and len(cells) in (0, len(header))
    except csv.Error:
        # A quoted value may continue after the sample; elsewhere, the quotes do not fit this delimiter.
        is_consistent = is_consistent and not is_whole and reader.line_num == len(sample)
    return (len(header) > 1, is_consistent, all(map(str.strip, header[1:])), len(header)) if header else None


def _replace_decimal_commas(table: CsvTable) -> None:
    for place, name in enumerate(table.header):
        values = [row[place] for row in table.rows]
        if not _has_decimal_commas(values):
            continue
        if points := next((value for value in values if _POINT_NUMBER.fullmatch(value)), None):
            raise CandelaError(f"column {name!r}: {points!r} has a decimal point, but the column has decimal commas")
        for row in table.rows:
            if _COMMA_NUMBER.fullmatch(row[place]):
                row[place] = row[place].replace(",", ".")


def _has_decimal_commas(values: Sequence[str]) -> bool:
    num_commas = sum(_COMMA_NUMBER.fullmatch(value) is not None for value in values)
    num_points = sum(_POINT_NUMBER.fullmatch(value) is not None for value in values)
    num_numbers = num_commas + num_points + sum(_INTEGER.fullmatch(value) is not None for value in values)
    num_present = sum(value.lower() not in _MISSING or _INTEGER.fullmatch(value) is not None for value in values)
    return num_commas > 0 and num_commas >= num_points and num_numbers >= _MIN_NUMERIC_SHARE * num_present


def _is_index_name(name: str) -> bool:
    return name == INDEX_NAME or name.removeprefix(f"{INDEX_NAME}.").isdecimal()
