"""Splits the bytes of a CSV file into lines, with limits of their length, and detects the encoding of the text."""

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from core.errors import InvalidTable

BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_READ_BYTES = 2**20


class RowLines:
    """An iterator over the lines of a table that limits the characters of each row.

    The csv module collects the lines of a row whose quoted values have line breaks, and would collect a whole file.

    Args:
        lines: the lines of the table.
        max_characters: maximum number of characters of a row.
        num_skipped: the number of lines of the file before `lines`.
    """

    def __init__(self, lines: Iterator[str], max_characters: int, num_skipped: int = 0) -> None:
        self._lines = lines
        self._max_characters = max_characters
        self._num_lines = num_skipped
        self._num_characters = 0

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


def detect_encoding(head: bytes, requested: str | None) -> tuple[int, str]:
    """Return the length of the byte order mark in bytes, and the encoding of the text after it."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return len(mark), encoding
    return 0, "utf-16-le" if requested == "utf-16" else requested or "utf-8"


def split_lines(file: BinaryIO, encoding: str, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of each line, including its line break. The last one may have `max_bytes` or more."""
    end = "\n".encode(encoding)
    if len(end) == 1:
        yield from iter(partial(file.readline, max_bytes), b"")
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
        if len(buffer) >= max_bytes:
            break
    if buffer:
        yield bytes(buffer)
