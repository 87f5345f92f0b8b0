"""The files in a zip or tar, one after the other and never on disk: unsafe entries are refused, not repaired."""

import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from core.datasets.archives.limits import UploadLimits
from core.errors import InvalidArchive, TooLarge

_CHUNK_BYTES = 2**20
_DRIVE = re.compile(r"^[A-Za-z]:")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ArchiveEntry(NamedTuple):
    """A folder or a regular file. `body` is None for a folder, and can be read until the next entry is asked for."""

    parts: tuple[str, ...]
    body: Readable | None


class EntryValidator:
    """Every name passes here once."""

    def __init__(self, limits: UploadLimits) -> None:
        self._limits = limits
        self._count = 0
        self._seen: dict[str, bool] = {}

    def validate_name(self, name: str, *, is_folder: bool) -> tuple[str, ...]:
        """Return the parts of a safe name. A leading `./`, as tar writes it, is no part.

        Raises:
            InvalidArchive: the name is not safe, or was there before; or too many have come.
        """
        self._count += 1
        if self._count > self._limits.max_entries:
            raise make_too_large_error(f"more than {self._limits.max_entries} entries")
        parts = self._split_name(name)
        if parts:
            self._refuse_duplicate(name, parts, is_folder=is_folder)
        return parts

    def _split_name(self, name: str) -> tuple[str, ...]:
        if why := self._find_fault(name):
            raise make_unsafe_error(name, why)
        parts = tuple(part for part in name.rstrip("/").split("/") if part != ".")
        if len(parts) > self._limits.max_depth:
            raise make_unsafe_error(name, f"lies deeper than {self._limits.max_depth} folders")
        return parts

    def _find_fault(self, name: str) -> str | None:
        if not name:
            return "has no name"
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            return "has a name that is not UTF-8"
        if size > self._limits.max_name_bytes:
            return f"has a name of {size} bytes"
        if any(unicodedata.category(character) == "Cc" for character in name):
            return "has a control character in its name"
        if "\\" in name:
            return "has a backslash in its name"
        if name.startswith("/") or _DRIVE.match(name):
            return "has an absolute name"
        parts = name.rstrip("/").split("/")
        if ".." in parts:
            return "leads out of the archive"
        return "has an empty part in its name" if "" in parts else None

    def _refuse_duplicate(self, name: str, parts: tuple[str, ...], *, is_folder: bool) -> None:
        key = "/".join(parts).casefold()
        if key in self._seen and not (is_folder and self._seen[key]):
            raise make_unsafe_error(name, "is there twice, or differs from another by case alone")
        self._seen[key] = is_folder


class ByteBudget:
    """Counts bytes as they are read, over all entries."""

    def __init__(self, archive_size: int, limits: UploadLimits) -> None:
        self._limits = limits
        self._max_bytes_by_ratio = max(limits.ratio_floor, archive_size * limits.max_ratio)
        self.total = 0

    def add_bytes(self, count: int) -> None:
        """Raises `InvalidArchive` past the limits."""
        self.total += count
        if self.total > self._limits.max_bytes:
            raise make_too_large_error(f"more than {self._limits.max_bytes} bytes unpacked", "max_bytes")
        if self.total > self._max_bytes_by_ratio:
            raise make_too_large_error(f"it unpacks to more than {self._limits.max_ratio} times its size", "max_ratio")


class CountingReader:
    """A stream whose bytes are counted."""

    def __init__(self, stream: Readable, budget: ByteBudget) -> None:
        self._stream = stream
        self._budget = budget
        self.last_block = b""

    def read(self, size: int, /) -> bytes:
        body = self._stream.read(size)
        self._budget.add_bytes(len(body))
        self.last_block = (self.last_block + body)[-512:]
        return body


def read_entry(body: Readable, max_bytes: int) -> bytes | None:
    """Return the bytes of an entry, or None where there are more than `most`. Raises `InvalidArchive`."""
    with translate_archive_errors():
        content = body.read(max_bytes + 1)
        while chunk := body.read(_CHUNK_BYTES) if len(content) <= max_bytes else b"":
            content += chunk
        return content if len(content) <= max_bytes else None


def check_file_type(name: str, mode: int) -> None:
    """Raises InvalidArchive unless a Unix mode (0: unknown) is that of a regular file or a folder."""
    file_type = stat.S_IFMT(mode)
    type_names = {stat.S_IFLNK: "link", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise make_unsafe_error(name, f"is a {type_names.get(file_type, 'device')}")


def make_unsafe_error(name: str, reason: str) -> InvalidArchive:
    entry = ascii(name[:200])[1:-1]
    return InvalidArchive(f"The entry '{entry}' {reason}.", code="archive_unsafe_entry", entry=entry)


def make_too_large_error(reason: str, limit: str = "max_entries") -> InvalidArchive:
    return InvalidArchive(f"The archive holds too much: {reason}.", code="archive_too_large", limit=limit)


def make_corrupt_error(reason: object) -> InvalidArchive:
    return InvalidArchive(f"The archive is damaged or cut: {reason}.", code="archive_corrupt")


@contextmanager
def translate_archive_errors() -> Iterator[None]:
    """Whatever a reader of archives raises over hostile bytes becomes `archive_corrupt`."""
    try:
        yield
    except (InvalidArchive, TooLarge, MemoryError):
        raise
    except Exception as error:
        raise make_corrupt_error(f"{type(error).__name__}: {error}"[:300]) from error
