"""What all backends do with local files: hash them, make them durable, refuse a key that is none."""

import errno
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StorageFull, Unavailable

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# A disk that broke, was mounted anew to be read only, or is another machine's that went: it may come back.
DISK_UNAVAILABLE_ERRNOS = frozenset(
    {errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EACCES}
)
_KEY_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def validate_key(key: str) -> str:
    """The key, which leads nowhere but down and has no part that begins with a dot: those are the backends' own.

    Raises:
        ValueError: it is no key.
    """
    if not all(_KEY_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"{key!r} is no key")
    return key


def compute_sha256(path: Path) -> str:
    """The hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """A full disk is StorageFull; one that cannot be read or written at all is Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise StorageFull("The storage has no space left.") from error
        if error.errno in DISK_UNAVAILABLE_ERRNOS:
            raise Unavailable(f"The storage cannot be used: {error.strerror}.") from error
        raise
