"""Opens plain and gzipped CSV files, and recognizes tables by their first bytes."""

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from core.datasets.archives.budget import QuickCheck
from core.datasets.archives.gzip_stream import GzipStream
from core.datasets.archives.limits import UploadLimits
from core.datasets.tables.csv_file import CsvFile
from core.datasets.tables.csv_lines import BYTE_ORDER_MARKS
from core.datasets.tables.table_options import TableOptions
from core.errors import InvalidArchive, InvalidTable

_GZIP_MAGIC = b"\x1f\x8b\x08"
_HEAD_BYTES = 4096
_DELIMITER_OUTSIDE_QUOTES = re.compile(r'(?:"[^"]*"|[^,;\t|\n])*+[,;\t|]')


class SizeLimit(NamedTuple):
    """The maximum number of bytes of a gzipped table after decompression."""

    max_bytes: int = 8 * 2**30
    max_ratio: int = 200
    ratio_floor: int = 64 * 2**20

    def get_max_bytes(self, compressed_bytes: int) -> int:
        """Return the maximum for a file of this size. A file with a high ratio would fill memory and time."""
        return min(self.max_bytes, max(self.ratio_floor, self.max_ratio * compressed_bytes))


class _TimeLimit(NamedTuple):
    """The time of a quick check. An import has its own time limit."""

    quick_check: QuickCheck | None

    def check_time(self) -> None:
        if self.quick_check is not None:
            self.quick_check.check()


class _CountedGzip(io.RawIOBase):
    """The decompressed content of a gzip file, at most `max_bytes`."""

    def __init__(self, file: BinaryIO, max_bytes: int, quick_check: QuickCheck | None) -> None:
        super().__init__()
        self._stream = GzipStream(file, _TimeLimit(quick_check))
        self._max_bytes = self._num_left = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # as `BufferedReader` calls it
        try:
            size = self._stream.readinto(buffer)
        except (zlib.error, InvalidArchive) as error:
            raise InvalidTable(f"The gzip file is damaged: {error}", code="archive_corrupt") from None
        self._num_left -= size
        if self._num_left < 0:
            raise InvalidTable(
                f"The table has more than {self._max_bytes} bytes after decompression.", code="table_too_large"
            )
        return size


@contextmanager
def open_table(
    path: Path,
    limit: SizeLimit = SizeLimit(),  # noqa: B008 - immutable
    quick_check: QuickCheck | None = None,
) -> Iterator[BinaryIO]:
    """Open a CSV file for reading. A gzipped file is decompressed; `quick_check` limits the time of this.

    Raises:
        InvalidTable: while reading, if the gzip file is damaged or too large.
        InspectionEnded: while reading, if the quick check reached its limits.
        InspectionCancelled: while reading, if the quick check is cancelled.
    """
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        if not is_gzip:
            yield file
            return
        max_bytes = limit.get_max_bytes(path.stat().st_size)
        yield io.BufferedReader(_CountedGzip(file, max_bytes, quick_check))


def open_csv(path: Path, options: TableOptions, limits: UploadLimits, quick_check: QuickCheck | None = None) -> CsvFile:
    """Open a plain or gzipped table. `quick_check` limits the time and the bytes of reading its header.

    Raises:
        InvalidTable: the header cannot be read.
        InspectionEnded: the quick check reached its limits.
        InspectionCancelled: the quick check is cancelled.
    """
    limit = SizeLimit(limits.max_bytes, limits.max_ratio, limits.ratio_floor)
    return CsvFile(
        path,
        encoding=options.encoding,
        delimiter=options.delimiter,
        open_file=partial(open_table, limit=limit, quick_check=quick_check),
        check_read=None if quick_check is None else quick_check.check,
    )


def detect_table(path: Path, *, is_table: bool, quick_check: QuickCheck | None = None) -> bool:
    """Return whether the file is a plain or gzipped CSV file.

    Args:
        path: the uploaded file.
        is_table: the client sent the file as a table, so that any gzipped text is accepted.
        quick_check: limits the time.

    Raises:
        InspectionEnded: the quick check reached its limits.
        InspectionCancelled: the quick check is cancelled.
    """
    try:
        with open_table(path, SizeLimit(), quick_check) as file:
            head = file.read(_HEAD_BYTES)
    except InvalidTable:
        return False  # the archive reader reports the damage
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    text = _decode_head(head)
    if not text or "\0" in text:
        return False
    if is_gzip and is_table:
        return True
    return "\n" in text and _DELIMITER_OUTSIDE_QUOTES.match(text) is not None


def _decode_head(head: bytes) -> str:
    """Return the first characters of the file, or an empty string if it is not a text."""
    mark, encoding = next((entry for entry in BYTE_ORDER_MARKS if head.startswith(entry[0])), (b"", "utf-8"))
    try:
        # The last character may be cut.
        return codecs.getincrementaldecoder(encoding)().decode(head.removeprefix(mark), final=len(head) < _HEAD_BYTES)
    except UnicodeDecodeError:
        return ""
