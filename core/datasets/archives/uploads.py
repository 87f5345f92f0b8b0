"""Detects the kind of an uploaded file, checks the file quickly, and reads the entries of archives."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from core.datasets.archives import tar_reader, zip_reader
from core.datasets.archives.budget import InspectionEnded, QuickCheck
from core.datasets.archives.entries import ArchiveEntry
from core.datasets.archives.limits import UploadLimits
from core.errors import InvalidArchive

UploadKind = Literal["zip", "tar", "gzip", "table"]

_MAX_INSPECTED_ENTRIES = 20_000
_MAX_INSPECTED_BYTES = 64 * 2**20
_MAX_INSPECTION_S = 5.0
_HEAD_BYTES = 4096


def detect_kind(path: Path) -> UploadKind:
    """Detect the kind of a file from its first bytes. The file name is ignored.

    Raises:
        InvalidArchive: the file is neither an archive nor a table.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return "zip"
    if head[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if head[257:262] == b"ustar":
        return "tar"
    if _is_table(head):
        return "table"
    raise InvalidArchive(
        "The file is not a zip, tar or tar.gz archive, or a CSV table." if head else "The uploaded file is empty.",
        code="archive_unknown",
    )


def read_entries(path: Path, limits: UploadLimits, quick_check: QuickCheck | None = None) -> Iterator[ArchiveEntry]:
    """Yield the entries of an archive. Their names and types are validated.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
        InspectionEnded: the quick check reached its limits.
    """
    match detect_kind(path):
        case "zip":
            return zip_reader.read_zip_entries(path, limits, quick_check)
        case "tar":
            return tar_reader.read_tar_entries(path, limits, is_gzip=False, quick_check=quick_check)
        case "gzip":
            return tar_reader.read_tar_entries(path, limits, is_gzip=True, quick_check=quick_check)
        case "table":
            raise InvalidArchive("The file is a table, not an archive of images.", code="archive_unknown")


def start_quick_check(is_cancelled: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> QuickCheck:
    """Return the limits of a quick check that starts now: 64 MiB and 5 seconds."""
    return QuickCheck(_MAX_INSPECTED_BYTES, clock() + _MAX_INSPECTION_S, is_cancelled, clock)


def inspect_upload(
    path: Path,
    limits: UploadLimits,
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> UploadKind:
    """Return the kind of an upload after a quick check of at most 20,000 entries, 64 MiB and 5 seconds.

    The import checks the whole file.

    Args:
        path: the uploaded file.
        limits: the limits of uploads.
        is_cancelled: called before each read; if it returns True, the check ends.
        clock: returns the time in seconds.

    Raises:
        InvalidArchive: the file is neither an archive nor a table, or one of the inspected entries is unsafe.
        InspectionCancelled: `is_cancelled` returned True.
    """
    kind = detect_kind(path)
    if kind == "table":
        return kind
    quick_check = start_quick_check(is_cancelled, clock)
    try:
        if kind == "zip" and zip_reader.count_entries(path, limits, quick_check) > _MAX_INSPECTED_ENTRIES:
            return kind
        num_entries = sum(1 for _ in islice(read_entries(path, limits, quick_check), _MAX_INSPECTED_ENTRIES))
    except InspectionEnded:  # the import checks the rest
        return kind
    if not num_entries:
        raise InvalidArchive("The archive has no entries.", code="archive_empty")
    return kind


def _is_table(head: bytes) -> bool:
    try:
        first_line, end, _ = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore").partition(
            "\n"
        )
    except UnicodeDecodeError:
        return False
    return bool(end) and "\0" not in first_line and any(mark in first_line for mark in ",;\t")
