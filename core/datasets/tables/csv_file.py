"""A CSV file as blocks of columns of texts; every refusal names the line. It knows no types and no meanings."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from core.errors import InvalidTable

Encoding = Literal["utf-8", "utf-16", "latin-1", "cp1252"]
Delimiter = Literal[",", ";", "\t", "|"]

MAX_COLUMNS = 4096
MAX_FIELD = 131_072  # characters: the limit that Python's reader has unless told otherwise
_MAX_LINE = 16 * 2**20  # bytes
_DELIMITERS: tuple[Delimiter, ...] = (",", ";", "\t", "|")
_ROWS = 4096
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Block(NamedTuple):
    """Some rows, turned into columns; `lines` are those of the file on which the rows end, from 1."""

    lines: list[int]
    columns: list[tuple[str, ...]]


class CsvFile:
    """A table with a header.

    Args:
        encoding: UTF-8 unless given, or what the file's byte order mark says.
        delimiter: the commonest of comma, semicolon, tab and bar in the header, unless given.
    """

    def __init__(self, path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> None:
        """Read the header. Raises `InvalidTable`."""
        self._path = path
        with path.open("rb") as file:
            self._skip, self._encoding = _encoding(file.read(4), encoding)
        first = next(self._texts(), "")
        self._delimiter = delimiter or max(_DELIMITERS, key=first.count)
        self.header = self._header()

    def _header(self) -> list[str]:
        cells = next((cells for _, cells in self._rows()), [])
        header = [cell.strip() for cell in cells]
        if not any(header):
            raise InvalidTable("The table is empty: its first line has no names.", code="table_empty")
        if len(header) > MAX_COLUMNS:
            raise InvalidTable(
                f"The table has {len(header)} columns; at most {MAX_COLUMNS} are read.", code="table_too_wide"
            )
        for place, name in enumerate(header, start=1):
            if not name or header.index(name) != place - 1:
                why = "has no name" if not name else f"is called {_shown(name)} like column {header.index(name) + 1}"
                raise InvalidTable(f"Line 1: column {place} {why}.", code="table_bad_header", line=1, column=place)
        return header

    def blocks(self) -> Iterator[Block]:
        """Yield the rows below the header, stripped of white space around values. Raises `InvalidTable`."""
        lines: list[int] = []
        rows: list[list[str]] = []
        is_header = True
        for line, cells in self._rows():
            if is_header:
                is_header = False
                continue
            if len(cells) != len(self.header):
                raise InvalidTable(
                    f"Line {line} has {len(cells)} values; the header names {len(self.header)} columns.",
                    code="table_ragged",
                    line=line,
                    num_values=len(cells),
                    num_columns=len(self.header),
                )
            lines.append(line)
            rows.append(cells)
            if len(rows) == _ROWS:
                yield _block(lines, rows)
                lines, rows = [], []
        if rows:
            yield _block(lines, rows)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield lines and their values; lines with nothing on them are left out."""
        reader = csv.reader(self._texts(), delimiter=self._delimiter, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            line = reader.line_num
            why = f"a value has more than {MAX_FIELD} characters" if "larger than" in str(error) else str(error)
            raise InvalidTable(f"Line {line}: {why}.", code="table_bad_line", line=line) from None

    def _texts(self) -> Iterator[str]:
        """Yield lines with their ends."""
        for number, text in enumerate(self._decoded(), start=1):
            if "\0" in text:
                place = text.count(self._separator, 0, text.index("\0")) + 1
                raise InvalidTable(
                    f"Line {number}, column {place}: there is a NUL character.",
                    code="table_bad_line",
                    line=number,
                    column=place,
                )
            yield text

    def _decoded(self) -> Iterator[str]:
        number = 0
        try:
            with self._path.open("rb") as file:
                file.seek(self._skip)
                for raw in _lines(file, self._encoding):
                    number += 1
                    yield raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise InvalidTable(
                f"Line {number} is not {self._encoding.upper()}: byte {error.start + 1} of it is "
                f"0x{error.object[error.start]:02x}. Save the file as UTF-8, or say its `encoding`.",
                code="table_bad_encoding",
                line=number,
            ) from None

    @property
    def _separator(self) -> str:
        return getattr(self, "_delimiter", ",")


def _encoding(head: bytes, asked: str | None) -> tuple[int, str]:
    """Return how many bytes to skip, and how to decode the rest."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return len(mark), encoding
    return 0, "utf-16-le" if asked == "utf-16" else asked or "utf-8"


def _lines(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the bytes of each line, its end among them. Raises `InvalidTable` for one that is too long to be one."""
    end = "\n".encode(encoding)
    number, line = 1, b""
    while piece := file.readline(_MAX_LINE):
        line += piece
        if encoding == "utf-16-le" and piece.endswith(b"\n"):
            line += file.read(1)  # the other half of what may be the line's end
        if len(line) >= _MAX_LINE:
            raise InvalidTable(f"Line {number} has more than {_MAX_LINE} bytes.", code="table_bad_line", line=number)
        if line.endswith(end) and len(line) % len(end) == 0:
            yield line
            number, line = number + 1, b""
    if line:
        yield line


def _block(lines: list[int], rows: list[list[str]]) -> Block:
    return Block(lines, [tuple(map(str.strip, column)) for column in zip(*rows, strict=True)])


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
