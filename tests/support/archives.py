"""Reads and breaks archives for tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.datasets.archives.entries import read_entry
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.uploads import read_entries
from core.errors import InvalidArchive

LIMITS = UploadLimits()


GOOD = {"cat/1.png": b"cat", "dog/1.png": b"dog", "dog/deep/2.png": b"more"}


def read_contents(path: Path, limits: UploadLimits = LIMITS) -> dict[str, bytes | None]:
    """Return the content of all entries by path, None for folders and oversized entries."""
    read = {}
    for parts, body in read_entries(path, limits):
        read["/".join(parts)] = None if body is None else read_entry(body, limits.max_image_bytes)
    return read


def get_error(path: Path, limits: UploadLimits = LIMITS) -> InvalidArchive:
    """Return the error that reading the archive raises."""
    with pytest.raises(InvalidArchive) as raised:
        read_contents(path, limits)
    return raised.value


def get_code(path: Path, limits: UploadLimits = LIMITS) -> str:
    """Return the code of the error that reading the archive raises."""
    return str(get_error(path, limits).extra["code"])


Make = Callable[[Path, dict[str, bytes]], Path]
