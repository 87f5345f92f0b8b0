"""Decompresses gzip files in bounded steps.

`gzip.GzipFile` reads long headers byte by byte, and any number of empty members in a single call of `read`.
"""

import io
import zlib
from typing import BinaryIO, Protocol

from core.datasets.archives.budget import make_too_large_error
from core.datasets.archives.entries import make_corrupt_error

_CHUNK_BYTES = 2**16
_GZIP_WBITS = 31  # zlib parses the gzip header and checks the checksum and the length
_FREE_MEMBERS, _MIN_MEAN_BYTES = 2**16, 2**10  # a file has this many members, and one more per KiB


class ReadTimeLimit(Protocol):
    """A limit that is checked before each step."""

    def check_time(self) -> None: ...


class GzipStream(io.RawIOBase):
    """The decompressed content of all members of a gzip file. Zeros after a member are ignored."""

    def __init__(self, file: BinaryIO, time_limit: ReadTimeLimit) -> None:
        super().__init__()
        self._file = file
        self._time_limit = time_limit
        self._input = b""
        self._num_read = 0
        self._num_members = 0
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._is_at_start = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # as `BufferedReader` calls it
        """Decompress at most `len(buffer)` bytes. Return their number, 0 at the end.

        Raises:
            InvalidArchive: the file is truncated or has too many members.
            zlib.error: the file is damaged.
        """
        while self._fill_input():
            content = self._member.decompress(self._input, len(buffer))
            self._input = self._member.unconsumed_tail
            if self._member.eof:
                self._start_member(self._member.unused_data)
            if content:
                buffer[: len(content)] = content
                return len(content)
        return 0

    def _fill_input(self) -> bool:
        """Return whether there is more input. Zeros between members are skipped."""
        while True:
            self._time_limit.check_time()
            if self._is_at_start and self._num_members:
                self._input = self._input.lstrip(b"\0")
            if self._input:
                self._is_at_start = False
                return True
            self._input = self._file.read(_CHUNK_BYTES)
            self._num_read += len(self._input)
            if not self._input:
                break
        if not self._is_at_start:
            raise make_corrupt_error("the gzip file is truncated")
        return False

    def _start_member(self, remainder: bytes) -> None:
        self._num_members += 1
        if self._num_members > _FREE_MEMBERS + self._num_read // _MIN_MEAN_BYTES:
            raise make_too_large_error(f"it has {self._num_members} gzip members", "max_gzip_members")
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._input = remainder
        self._is_at_start = True
