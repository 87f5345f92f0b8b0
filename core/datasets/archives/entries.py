"""Validates archive entries and reads them as streams. Rejects unsafe entries, and extracts no entry to disk."""

import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from core.datasets.archives.budget import InspectionCancelled, InspectionEnded, Readable, make_too_large_error
from core.datasets.archives.limits import UploadLimits
from core.datasets.split_names import normalize_name
from core.errors import InvalidArchive, TooLarge

_CHUNK_BYTES = 2**20
SYMBOLIC_LINK = "symbolic link; `tar -h` and `zip -r` store the files behind such links instead"
_DRIVE = re.compile(r"^[A-Za-z]:")


class ArchiveEntry(NamedTuple):
    """A folder or regular file in an archive. Read `body` before requesting the next entry. It is None for folders."""

    parts: tuple[str, ...]
    body: Readable | None


class EntryValidator:
    """Validates the names of all entries of an archive."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._count = 0
        self._seen: dict[str, bool] = {}

    def validate_name(self, name: str, *, is_folder: bool) -> tuple[str, ...]:
        """Validate the name of an entry. Return its path parts without `.` parts.

        Raises:
            InvalidArchive: the name is unsafe or a duplicate, or the archive has too many entries.
        """
        self._count += 1
        if self._count > self._limits.max_entries:
            raise make_too_large_error(f"it has more than {self._limits.max_entries} entries")
        parts = self.split_name(name)
        if parts:
            self._refuse_duplicate(name, parts, is_folder=is_folder)
        return parts

    def split_name(self, name: str) -> tuple[str, ...]:
        """Return the path parts of a name without `.` parts.

        Raises:
            InvalidArchive: the name is unsafe.
        """
        if why := self._find_fault(name):
            raise make_unsafe_error(name, why)
        parts = tuple(part for part in name.rstrip("/").split("/") if part != ".")
        if len(parts) > self._limits.max_depth:
            raise make_unsafe_error(name, f"is nested deeper than {self._limits.max_depth} folders")
        return parts

    def _find_fault(self, name: str) -> str | None:
        if not name:
            return "has no name"
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            return "has a name that is not UTF-8"
        if size > self._limits.max_name_bytes:
            return f"has a name of {size} bytes; at most {self._limits.max_name_bytes} are accepted"
        if any(unicodedata.category(character) == "Cc" for character in name):
            return "has a control character in its name"
        if "\\" in name:
            return "has a backslash in its name"
        if name.startswith("/") or _DRIVE.match(name):
            return "has an absolute path"
        parts = name.rstrip("/").split("/")
        if ".." in parts:
            return "has `..` in its path"
        return "has an empty part in its path" if "" in parts else None

    def _refuse_duplicate(self, name: str, parts: tuple[str, ...], *, is_folder: bool) -> None:
        # Case twins such as `a.jpg` and `A.jpg` are different files on Linux, and no entry is extracted to disk.
        key = normalize_name("/".join(parts))
        if key in self._seen and not (is_folder and self._seen[key]):
            raise make_unsafe_error(name, "has the same name as another entry")
        self._seen[key] = is_folder


def read_entry(body: Readable, max_bytes: int) -> bytes | None:
    """Return the content of an entry, or None if it has more than `max_bytes`.

    Raises:
        InvalidArchive: the archive is damaged or too large.
    """
    with translate_archive_errors():
        content = bytearray()
        while chunk := body.read(min(_CHUNK_BYTES, max_bytes + 1 - len(content))):
            content += chunk
        return bytes(content) if len(content) <= max_bytes else None


def check_file_type(name: str, mode: int) -> None:
    """Check that a Unix mode belongs to a regular file or a folder. A mode without file type is accepted.

    Raises:
        InvalidArchive: the mode belongs to a link, device, FIFO or socket.
    """
    file_type = stat.S_IFMT(mode)
    type_names = {stat.S_IFLNK: SYMBOLIC_LINK, stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise make_unsafe_error(name, f"is a {type_names.get(file_type, 'device')}")


def make_unsafe_error(name: str, reason: str) -> InvalidArchive:
    """Return the error for an unsafe entry."""
    entry = ascii(name[:200])[1:-1]
    return InvalidArchive(f"The entry '{entry}' {reason}.", code="archive_unsafe_entry", entry=entry)


def make_corrupt_error(reason: object) -> InvalidArchive:
    """Return the error for a damaged archive."""
    return InvalidArchive(f"The archive is damaged or truncated: {reason}.", code="archive_corrupt")


@contextmanager
def translate_archive_errors() -> Iterator[None]:
    """Translate errors of the zip and tar libraries to InvalidArchive with the code `archive_corrupt`."""
    try:
        yield
    except (InvalidArchive, TooLarge, MemoryError, InspectionEnded, InspectionCancelled):
        raise
    except Exception as error:
        raise make_corrupt_error(f"{type(error).__name__}: {error}"[:300]) from error
