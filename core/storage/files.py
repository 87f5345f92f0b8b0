"""Validates storage keys, computes hashes of files and translates disk errors, for all storage backends."""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StorageFull, Unavailable

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Errors of a failed disk, a disk that was remounted read-only, or a disconnected network disk. They may be temporary.
DISK_UNAVAILABLE_ERRNOS = frozenset(
    {errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EACCES}
)
_KEY_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def validate_key(key: str) -> str:
    """Return `key` if it is valid: a relative path whose segments do not start with a dot.

    Raises:
        ValueError: the key is invalid.
    """
    if not all(_KEY_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"{key!r} is not a valid storage key")
    return key


def compute_sha256(path: Path) -> str:
    """Return the sha256 of a file as a hexadecimal string."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Translate OSError to StorageFull if the disk is full, and to Unavailable if the disk cannot be used."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise StorageFull("The storage is full.") from error
        if error.errno in DISK_UNAVAILABLE_ERRNOS:
            raise Unavailable(f"The storage cannot be used: {error.strerror}.") from error
        raise
