"""Limits the work of reading an archive: the bytes that are read or skipped, and the time of a quick check."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from core.datasets.archives.limits import UploadLimits
from core.errors import InvalidArchive

_BLOCK_BYTES = 512
_MAX_READ_BYTES = 2**20


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes: ...


class InspectionEnded(Exception):
    """A quick check reached its limit of bytes or time. The archive may be valid."""


class InspectionCancelled(Exception):
    """The result of a quick check is no longer needed, for example because the client left."""


class QuickCheck(NamedTuple):
    """The limits of a quick check, in addition to the limits of uploads.

    Attributes:
        max_bytes: maximum number of uncompressed bytes to read.
        ends_at: when the check ends, in seconds of `clock`.
        is_cancelled: called before each read; if it returns True, the check ends.
    """

    max_bytes: int
    ends_at: float
    is_cancelled: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic

    def check(self, total_bytes: int = 0) -> None:
        """Check the limits after `total_bytes` bytes.

        Raises:
            InspectionEnded: a limit is reached.
            InspectionCancelled: `is_cancelled` returned True.
        """
        if self.is_cancelled():
            raise InspectionCancelled
        if total_bytes > self.max_bytes or self.clock() > self.ends_at:
            raise InspectionEnded


class ReadBudget:
    """Limits the total number of uncompressed bytes of an archive."""

    def __init__(self, archive_size: int, limits: UploadLimits, quick_check: QuickCheck | None = None) -> None:
        self._limits = limits
        self._max_bytes_by_ratio = max(limits.ratio_floor, archive_size * limits.max_ratio)
        self._quick_check = quick_check
        self.total = 0

    def add_bytes(self, count: int) -> None:
        """Add `count` bytes to the total.

        Raises:
            InvalidArchive: a limit is exceeded.
            InspectionEnded: the quick check reached its limits.
        """
        self.total += count
        self._check_total(self.total)
        self.check_time()

    def check_time(self) -> None:
        """Check the limits of the quick check. Call this between two steps that may yield no bytes.

        Raises:
            InspectionEnded: the quick check reached its limits.
        """
        if self._quick_check is not None:
            self._quick_check.check(self.total)

    def check_declared_size(self, num_bytes: int) -> None:
        """Check that `num_bytes` more bytes can be read, before any of them is read or skipped.

        Raises:
            InvalidArchive: a limit would be exceeded.
        """
        self._check_total(self.total + num_bytes)

    def _check_total(self, total: int) -> None:
        if total > self._limits.max_bytes:
            raise make_too_large_error(
                f"it has more than {self._limits.max_bytes} bytes when uncompressed", "max_bytes"
            )
        if total > self._max_bytes_by_ratio:
            raise make_too_large_error(
                f"its content is more than {self._limits.max_ratio} times its size when uncompressed", "max_ratio"
            )


class CountingReader:
    """Wraps a stream and adds the bytes that are read to a `ReadBudget`.

    Attributes:
        last_block: the last 512 bytes that were read.
    """

    def __init__(self, stream: Readable, budget: ReadBudget) -> None:
        self._stream = stream
        self._budget = budget
        self.last_block = b""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and at most 1 MiB."""
        body = self._stream.read(min(size, _MAX_READ_BYTES))
        self._budget.add_bytes(len(body))
        self.last_block = (body if len(body) >= _BLOCK_BYTES else self.last_block + body)[-_BLOCK_BYTES:]
        return body


def make_too_large_error(reason: str, limit: str = "max_entries") -> InvalidArchive:
    """Return the error for an archive that exceeds a limit. `limit`: the name of the limit."""
    return InvalidArchive(f"The archive is too large: {reason}.", code="archive_too_large", limit=limit)
