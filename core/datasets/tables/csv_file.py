"""Reads a CSV file in blocks of rows, transposed to columns of strings. Errors contain the line number."""

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from core.errors import InvalidTable

Encoding = Literal["utf-8", "utf-16", "latin-1", "cp1252"]
Delimiter = Literal[",", ";", "\t", "|"]

MAX_COLUMNS = 4096
MAX_NAME_CHARACTERS = 1000
MAX_FIELD_CHARACTERS = 131_072  # the default of csv.field_size_limit()
_MAX_LINE_BYTES = 16 * 2**20
_MAX_ROW_CHARACTERS = 16 * 2**20  # a quoted value may have line breaks, so that a row may have many lines
_MAX_HEADER_CHARACTERS = MAX_COLUMNS * (MAX_NAME_CHARACTERS + 3)  # quotes and a delimiter
_DELIMITERS: tuple[Delimiter, ...] = (",", ";", "\t", "|")
_BLOCK_ROWS = 4096
_READ_BYTES = 2**20
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class RowBlock(NamedTuple):
    """Some rows, transposed to columns. `lines` contains the number of the line, from 1, in which each row ends."""

    lines: list[int]
    columns: list[tuple[str, ...]]


class CsvFile:
    """A CSV file with a header.

    Args:
        encoding: the text encoding. Default: UTF-8, or the encoding of the byte order mark.
        delimiter: the character between values. Default: the most frequent of comma, semicolon, tab and bar in the
            header.
        check_read: called with the number of bytes that were read, after each line up to the end of the header. It may
            raise an exception to end the work.
    """

    def __init__(
        self,
        path: Path,
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        check_read: Callable[[int], None] | None = None,
    ) -> None:
        """Read the header.

        Raises:
            InvalidTable: the header is missing or invalid.
        """
        self._path = path
        self._check_read = check_read
        with path.open("rb") as file:
            self._bom_size, self._encoding = _detect_encoding(file.read(4), encoding)
        self._delimiter = delimiter or _DELIMITERS[0]
        if delimiter is None:
            self._delimiter = max(_DELIMITERS, key=next(self._read_lines(), "").count)
        self.header = self._read_header()
        self._check_read = None

    def _read_header(self) -> list[str]:
        cells = next((cells for _, cells in self._read_rows(_MAX_HEADER_CHARACTERS)), [])
        header = [cell.strip() for cell in cells]
        if not any(header):
            raise InvalidTable("The table is empty: its first line has no column names.", code="table_empty")
        if len(header) > MAX_COLUMNS:
            raise InvalidTable(
                f"The table has {len(header)} columns; at most {MAX_COLUMNS} are accepted.", code="table_too_wide"
            )
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
                    f"Line 1: column {position} {reason}.", code="table_bad_header", line=1, column=position
                )
        return header

    def read_blocks(self) -> Iterator[RowBlock]:
        """Yield the rows below the header, with whitespace around values removed.

        Raises:
            InvalidTable: a line cannot be read, or its number of values differs from the header.
        """
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
        lines = _RowLines(self._read_lines(), max_characters)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                lines.start_row()
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            line = reader.line_num
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
                column = text.count(self._delimiter, 0, text.index("\0")) + 1
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
            with self._path.open("rb") as file:
                file.seek(self._bom_size)
                for raw in _split_lines(file, self._encoding):
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


class _RowLines:
    """An iterator over the lines of a table that limits the characters of each row.

    The csv module collects the lines of a row whose quoted values have line breaks, and would collect a whole file.
    """

    def __init__(self, lines: Iterator[str], max_characters: int) -> None:
        self._lines = lines
        self._max_characters = max_characters
        self._num_lines = self._num_characters = 0

    def start_row(self) -> None:
        """Count the characters of a new row."""
        self._num_characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._num_lines += 1
        self._num_characters += len(line)
        if self._num_characters > self._max_characters:
            raise InvalidTable(
                f"Line {self._num_lines}: the row has more than {self._max_characters} characters.",
                code="table_bad_line",
                line=self._num_lines,
            )
        return line


def _detect_encoding(head: bytes, requested: str | None) -> tuple[int, str]:
    """Return the length of the byte order mark in bytes, and the encoding of the text after it."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return len(mark), encoding
    return 0, "utf-16-le" if requested == "utf-16" else requested or "utf-8"


def _split_lines(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the bytes of each line, including its line break. The last one may be longer than `_MAX_LINE_BYTES`."""
    end = "\n".encode(encoding)
    if len(end) == 1:
        yield from iter(partial(file.readline, _MAX_LINE_BYTES), b"")
        return
    buffer, start, position = bytearray(), 0, 0
    while chunk := file.read(_READ_BYTES):
        buffer += chunk
        while (position := buffer.find(end, position)) >= 0:
            position += 1
            if (position - 1 - start) % len(end) == 0:  # not a half of each of two characters
                position += 1
                yield bytes(buffer[start:position])
                start = position
        del buffer[:start]
        position, start = max(len(buffer) - len(end) + 1, 0), 0
        if len(buffer) >= _MAX_LINE_BYTES:
            break
    if buffer:
        yield bytes(buffer)


def _transpose_rows(lines: list[int], rows: list[list[str]]) -> RowBlock:
    return RowBlock(lines, [tuple(map(str.strip, column)) for column in zip(*rows, strict=True)])


def _shorten_name(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
