"""The pictures of an archive, taken out once into a single file, so that they can be read in any order."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core import images
from core.datasets.archives.entries import Entry, Readable, read_whole, too_large
from core.datasets.archives.limits import Limits
from core.datasets.definition import Unreadable
from core.datasets.tables import sample_weights
from core.errors import InvalidImage, ServiceError
from core.images import ImageSize

_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".ppm"}
)
_HIDDEN = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_LISTED = 100
_MAX_WEIGHTS_BYTES = 256 * 2**20
_MAX_DEPTH_OF_WEIGHTS = 2  # beside the class folders, which one folder may wrap


class Spooled(NamedTuple):
    """A picture's bytes in the spool, and its size as its header says."""

    parts: tuple[str, ...]
    offset: int
    length: int
    size: ImageSize

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def is_hidden(parts: tuple[str, ...]) -> bool:
    """Whether an entry is nobody's picture: what systems leave beside files."""
    return any(part.startswith(".") or part in _HIDDEN for part in parts)


def is_named_as_image(parts: tuple[str, ...]) -> bool:
    """Whether whoever made the archive took the entry for a picture, of whatever format."""
    return PurePosixPath(parts[-1]).suffix.lower() in _SUFFIXES


class Spool:
    """What `fill` found; `ignored` are files that are no pictures.

    Attributes:
        tables: files that may tell the pictures' weights, by their names in the archive.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._file = path.open("x+b")
        self._limits = limits
        self.tables: dict[tuple[str, ...], Path] = {}
        self.pictures: list[Spooled] = []
        self.folders: list[tuple[str, ...]] = []
        self.unreadable: list[Unreadable] = []
        self.unreadable_parts: list[tuple[str, ...]] = []
        self.num_ignored = 0
        self.ignored: list[str] = []

    def extract(self, entries: Iterable[Entry]) -> None:
        """Take out all pictures. Raises `InvalidArchive`."""
        for parts, body in entries:
            if is_hidden(parts):
                continue
            if body is None:
                self.folders.append(parts)
            else:
                self._take(parts, body)
        self._file.flush()

    def _take(self, parts: tuple[str, ...], body: Readable) -> None:
        if parts[-1] == sample_weights.FILE and len(parts) <= _MAX_DEPTH_OF_WEIGHTS:
            self._lay_aside(parts, body)
            return
        whole = read_whole(body, self._limits.max_image_bytes)
        is_named_so = is_named_as_image(parts)
        try:
            if whole is None:
                raise InvalidImage(f"The file has more than {self._limits.max_image_bytes} bytes.")
            size = images.probe(whole, max_pixels=self._limits.max_pixels)
        except ServiceError as error:
            self._leave(parts, error.detail, is_named_so=is_named_so)
        else:
            self.pictures.append(Spooled(parts, self._file.tell(), len(whole), size))
            self._file.write(whole)

    def _leave(self, parts: tuple[str, ...], reason: str, *, is_named_so: bool) -> None:
        if is_named_so:
            self.unreadable.append(Unreadable("/".join(parts), reason))
            self.unreadable_parts.append(parts)
            return
        self.ignore(parts)

    def _lay_aside(self, parts: tuple[str, ...], body: Readable) -> None:
        whole = read_whole(body, _MAX_WEIGHTS_BYTES)
        if whole is None:
            raise too_large(f"{'/'.join(parts)} has more than {_MAX_WEIGHTS_BYTES} bytes", "max_bytes")
        if len(self.tables) < _LISTED:
            self.tables[parts] = self._path.with_name(f"{self._path.name}-{len(self.tables)}")
            self.tables[parts].write_bytes(whole)

    def ignore(self, parts: tuple[str, ...]) -> None:
        """Count a file among those that are no pictures."""
        self.num_ignored += 1
        if len(self.ignored) < _LISTED:
            self.ignored.append("/".join(parts))

    def read(self, image: Spooled) -> bytes:
        return os.pread(self._file.fileno(), image.length, image.offset)

    def close(self) -> None:
        self._file.close()
        for table in self.tables.values():
            table.unlink()
