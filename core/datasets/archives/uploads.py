"""Uploads: what kind a file is, a quick look into archives at the door, and their entries in the import."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from core.datasets.archives import tar_reader, zip_reader
from core.datasets.archives.entries import ArchiveEntry
from core.datasets.archives.limits import UploadLimits
from core.errors import InvalidArchive

UploadKind = Literal["zip", "tar", "gzip", "table"]

_MAX_INSPECTED_ENTRIES = 20_000
_MAX_INSPECTED_BYTES = 64 * 2**20
_HEAD_BYTES = 4096


def detect_kind(path: Path) -> UploadKind:
    """Tell the kind by the first bytes; names and content types are not looked at. Raises `InvalidArchive`."""
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
        "This is neither a zip, tar or tar.gz nor a table." if head else "The upload is empty.", code="archive_unknown"
    )


def read_entries(path: Path, limits: UploadLimits) -> Iterator[ArchiveEntry]:
    """Yield the entries, each safe by name and kind. Raises `InvalidArchive`."""
    match detect_kind(path):
        case "zip":
            return zip_reader.read_zip_entries(path, limits)
        case "tar":
            return tar_reader.read_tar_entries(path, limits, is_gzip=False)
        case "gzip":
            return tar_reader.read_tar_entries(path, limits, is_gzip=True)
        case "table":
            raise InvalidArchive("This is a table, not an archive of pictures.", code="archive_unknown")


def inspect_upload(path: Path, limits: UploadLimits) -> UploadKind:
    """Refuse at the door what a quick look shows: at most 20,000 entries and 64 MiB; the import sees the rest.

    Raises:
        InvalidArchive: it is neither archive nor table, or one of the entries seen is unsafe.
    """
    kind = detect_kind(path)
    if kind == "table":
        return kind
    if kind == "zip" and zip_reader.count_entries(path, limits) > _MAX_INSPECTED_ENTRIES:
        return kind
    inspection_limits = limits._replace(max_bytes=min(limits.max_bytes, _MAX_INSPECTED_BYTES))
    try:
        num_entries = sum(1 for _ in islice(read_entries(path, inspection_limits), _MAX_INSPECTED_ENTRIES))
    except InvalidArchive as error:
        if error.facts.get("limit") != "max_bytes" or inspection_limits.max_bytes == limits.max_bytes:
            raise  # else it is only too long for a quick look
        return kind
    if not num_entries:
        raise InvalidArchive("The archive is empty.", code="archive_empty")
    return kind


def _is_table(head: bytes) -> bool:
    try:
        first_line, end, _ = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore").partition(
            "\n"
        )
    except UnicodeDecodeError:
        return False
    return bool(end) and "\0" not in first_line and any(mark in first_line for mark in ",;\t")
