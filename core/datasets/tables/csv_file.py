"""Reads a CSV file in blocks of rows, transposed to columns of strings. Errors contain the line number."""

import csv
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from core.csv_output import unescape_cell
from core.datasets.tables.csv_dialect import (
    DecimalCommas,
    Delimiter,
    detect_delimiter,
    parse_separator_line,
    replace_decimal_commas,
)
from core.datasets.tables.csv_lines import RowLines, detect_encoding, split_lines
from core.errors import InvalidTable

Encoding = Literal["utf-8", "utf-16", "latin-1", "cp1252"]

MAX_COLUMNS = 4096
MAX_NAME_CHARACTERS = 1000
MAX_FIELD_CHARACTERS = 131_072  # the default of csv.field_size_limit()
_MAX_LINE_BYTES = 16 * 2**20
_MAX_ROW_CHARACTERS = 16 * 2**20  # a quoted value may have line breaks, so that a row may have many lines
_MAX_HEADER_CHARACTERS = MAX_COLUMNS * (MAX_NAME_CHARACTERS + 3)  # quotes and a delimiter
_BLOCK_ROWS = 4096
INDEX_NAME = "Unnamed: 0"
"""The name of a first column without a name: the row labels that pandas and R write. pandas reads it by this name."""


class RowBlock(NamedTuple):
    """Some rows, transposed to columns. `lines` contains the number of the line, from 1, in which each row ends."""

    lines: list[int]
    columns: list[tuple[str, ...]]


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


class CsvFile:
    """A CSV file with a header.

    Attributes:
        delimiter: the character between values.
        header: the names of the columns. The first column is called `INDEX_NAME` if it has no name.
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None = None,
        delimiter: Delimiter | None = None,
        open_file: Callable[[Path], AbstractContextManager[BinaryIO]] = _open_file,
        check_read: Callable[[int], None] | None = None,
    ) -> None:
        """Read the header.

        Args:
            path: the file.
            encoding: the text encoding. Default: UTF-8, or the encoding of the byte order mark.
            delimiter: the character between values. Default: that of a first line `sep=;`, or see `detect_delimiter`.
            open_file: opens the file for reading bytes, for example to decompress it.
            check_read: called with the number of bytes that were read, after each line up to the end of the header,
                also while the delimiter is detected. It may raise an exception to end the work.

        Raises:
            InvalidTable: the header is missing or invalid.
        """
        self._path = path
        self._open_file = open_file
        self._check_read = check_read
        with open_file(path) as file:
            self._bom_size, self._encoding = detect_encoding(file.read(4), encoding)
        separator = parse_separator_line(next(self._decode_lines(), ""))
        self._num_skipped = 0 if separator is None else 1
        self.delimiter: Delimiter = delimiter or separator or ","
        if delimiter is None and separator is None:
            self.delimiter = detect_delimiter(self._decode_lines(), _MAX_HEADER_CHARACTERS)
        self.header = self._read_header()
        self._check_read = None

    def _read_header(self) -> list[str]:
        cells = next((cells for _, cells in self._read_rows(_MAX_HEADER_CHARACTERS)), [])
        header = [unescape_cell(cell.strip()) for cell in cells]
        if not any(header):
            raise InvalidTable("The table is empty: its first line has no column names.", code="table_empty")
        if len(header) > MAX_COLUMNS:
            raise InvalidTable(
                f"The table has {len(header)} columns; at most {MAX_COLUMNS} are accepted.", code="table_too_wide"
            )
        if not header[0]:
            header[0] = _name_index(header)
        positions: dict[str, int] = {}
        for position, name in enumerate(header, start=1):
            first = positions.setdefault(name, position)
            reason = (
                "has no name"
                if not name
                else f"has a name of {len(name)} characters; at most {MAX_NAME_CHARACTERS} are accepted"
                if len(name) > MAX_NAME_CHARACTERS
                else f"has the same name {_shorten_name(name)} as column {first}"
                if first != position
                else None
            )
            if reason is not None:
                raise InvalidTable(
                    f"Line {self._num_skipped + 1}: column {position} {reason}.",
                    code="table_bad_header",
                    line=self._num_skipped + 1,
                    column=position,
                )
        return header

    def read_blocks(self, commas: DecimalCommas = DecimalCommas()) -> Iterator[RowBlock]:  # noqa: B008 - immutable
        """Yield the rows below the header, with whitespace around values removed.

        Args:
            commas: the columns whose numbers have decimal commas, which are replaced with points.

        Raises:
            InvalidTable: a line cannot be read, or its number of values differs from the header, or a number in a
                column with decimal commas has a decimal point.
        """
        for block in self._read_text_blocks():
            columns = list(block.columns)
            for position in sorted(commas.columns):
                columns[position] = replace_decimal_commas(columns[position], block.lines, self.header[position])
            yield RowBlock(block.lines, columns)

    def _read_text_blocks(self) -> Iterator[RowBlock]:
        lines: list[int] = []
        rows: list[list[str]] = []
        is_header = True
        for line, cells in self._read_rows(_MAX_ROW_CHARACTERS):
            if is_header:
                is_header = False
                continue
            if len(cells) != len(self.header):
                raise InvalidTable(
                    f"Line {line} has {len(cells)} values; the header has {len(self.header)} columns.",
                    code="table_ragged",
                    line=line,
                    num_values=len(cells),
                    num_columns=len(self.header),
                )
            lines.append(line)
            rows.append(cells)
            if len(rows) == _BLOCK_ROWS:
                yield _transpose_rows(lines, rows)
                lines, rows = [], []
        if rows:
            yield _transpose_rows(lines, rows)

    def _read_rows(self, max_characters: int) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the values of each row. Empty lines are skipped."""
        lines = RowLines(islice(self._read_lines(), self._num_skipped, None), max_characters, self._num_skipped)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                lines.start_row()
                if cells:
                    yield reader.line_num + self._num_skipped, cells
        except csv.Error as error:
            line = reader.line_num + self._num_skipped
            reason = (
                f"a value has more than {MAX_FIELD_CHARACTERS} characters"
                if "larger than" in str(error)
                else str(error)
            )
            raise InvalidTable(f"Line {line}: {reason}.", code="table_bad_line", line=line) from None

    def _read_lines(self) -> Iterator[str]:
        """Yield lines, including their line breaks."""
        for number, text in enumerate(self._decode_lines(), start=1):
            if "\0" in text:
                column = text.count(self.delimiter, 0, text.index("\0")) + 1
                raise InvalidTable(
                    f"Line {number}, column {column}: the value has a NUL character.",
                    code="table_bad_line",
                    line=number,
                    column=column,
                )
            yield text

    def _decode_lines(self) -> Iterator[str]:
        number = num_bytes = 0
        try:
            with self._open_file(self._path) as file:
                file.read(self._bom_size)
                for raw in split_lines(file, self._encoding, _MAX_LINE_BYTES):
                    number, num_bytes = number + 1, num_bytes + len(raw)
                    if len(raw) >= _MAX_LINE_BYTES:
                        raise InvalidTable(
                            f"Line {number} has more than {_MAX_LINE_BYTES} bytes.", code="table_bad_line", line=number
                        )
                    if self._check_read is not None:
                        self._check_read(num_bytes)
                    yield raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise InvalidTable(
                f"Line {number} is not {self._encoding.upper()}: byte {error.start + 1} of the line is "
                f"0x{error.object[error.start]:02x}. Save the file as UTF-8, or set `encoding`.",
                code="table_bad_encoding",
                line=number,
            ) from None


def _transpose_rows(lines: list[int], rows: list[list[str]]) -> RowBlock:
    return RowBlock(lines, [tuple(map(str.strip, column)) for column in zip(*rows, strict=True)])


def _name_index(header: list[str]) -> str:
    """Return a name that no other column has. A table that pandas wrote twice has two columns of row labels."""
    names = (INDEX_NAME, *(f"{INDEX_NAME}.{number}" for number in range(1, len(header) + 1)))
    return next(name for name in names if name not in header)


def is_index_name(name: str) -> bool:
    """Return whether the name is that of a column of row labels, which pandas and R write without a name."""
    return name == INDEX_NAME or name.removeprefix(f"{INDEX_NAME}.").isdecimal()


def _shorten_name(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
