"""Copies the images of an archive into a single temporary file, so that they can be read in any order."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core import images
from core.datasets.archives.annotations import AnnotationFile, is_annotation_file
from core.datasets.archives.budget import Readable, make_too_large_error
from core.datasets.archives.entries import ArchiveEntry, read_entry
from core.datasets.archives.label_file import LABELS_FILES, is_table_file
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.split_lists import get_list_split
from core.datasets.archives.spool_blocks import SpoolBlocks
from core.datasets.definition import Unreadable
from core.datasets.import_report import get_suffix
from core.datasets.tables import sample_weights
from core.errors import ServiceError
from core.images import ImageSize

_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".ppm"}
)
_HIDDEN_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_MAX_LISTED = 100
_MAX_WEIGHTS_BYTES = 256 * 2**20
_MAX_LIST_DEPTH = 4  # path parts: `weights.csv`, `folder/weights.csv` or with more wrapping folders
_MAX_ANNOTATION_FILES, _MAX_ANNOTATION_BYTES = 16, 64 * 2**20
_MAX_LIST_FILES = 16


class SpooledImage(NamedTuple):
    """The position of an image in the spool file, and its size from the image header."""

    parts: tuple[str, ...]
    offset: int
    length: int
    size: ImageSize

    @property
    def name(self) -> str:
        """The path in the archive."""
        return "/".join(self.parts)


def is_hidden(parts: tuple[str, ...]) -> bool:
    """Return whether the entry is hidden: a name with a leading dot, or a file that an operating system added."""
    return any(part.startswith(".") or part in _HIDDEN_NAMES for part in parts)


def has_image_suffix(parts: tuple[str, ...]) -> bool:
    """Return whether the file name ends with the suffix of an image format, even if the format is not supported."""
    return PurePosixPath(parts[-1]).suffix.lower() in _SUFFIXES


class ImageSpool:
    """The images and other entries of an archive.

    Attributes:
        weights_files: temporary copies of the files named `weights.csv`, keyed by the path in the archive.
        annotation_files: temporary copies of the files that may contain the classes of the images of one split.
        list_files: temporary copies of the other CSV files and of lists such as `train.txt`.
        unreadable: files that have the suffix of an image format but cannot be read, or that exceed a limit.
        ignored: files that are not images and do not have the suffix of an image format.
        ignored_suffixes: the number of ignored files of each suffix.
    """

    def __init__(self, path: Path, limits: UploadLimits) -> None:
        self._path = path
        self._file = path.open("x+b")
        self._limits = limits
        self.weights_files: dict[tuple[str, ...], Path] = {}
        self.annotation_files: list[AnnotationFile] = []
        self.list_files: list[AnnotationFile] = []
        self.spooled_images: list[SpooledImage] = []
        self.folders: list[tuple[str, ...]] = []
        self.unreadable: list[Unreadable] = []
        self.unreadable_parts: list[tuple[str, ...]] = []
        self.num_ignored = 0
        self.ignored_suffixes: Counter[str] = Counter()
        self.ignored: list[str] = []

    def extract_images(self, entries: Iterable[ArchiveEntry]) -> None:
        """Copy all images of an archive.

        Raises:
            InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
        """
        for parts, body in entries:
            if is_hidden(parts):
                continue
            if body is None:
                self.folders.append(parts)
            else:
                self._extract_file(parts, body)
        self._file.flush()

    def _extract_file(self, parts: tuple[str, ...], body: Readable) -> None:
        if parts[-1] == sample_weights.WEIGHTS_FILE and len(parts) <= _MAX_LIST_DEPTH:
            self._extract_weights(parts, body)
            return
        if is_annotation_file(parts) and len(self.annotation_files) < _MAX_ANNOTATION_FILES:
            self._extract_annotations(parts, body)
            return
        is_list = len(parts) <= _MAX_LIST_DEPTH and (is_table_file(parts) or get_list_split(parts) is not None)
        if is_list and len(self.list_files) < _MAX_LIST_FILES:
            self._extract_list(parts, body)
            return
        content = read_entry(body, self._limits.max_image_bytes)
        has_suffix = has_image_suffix(parts)
        try:
            if content is None:
                raise images.make_file_size_error(self._limits.max_image_bytes)
            size = images.read_image_size(content, max_pixels=self._limits.max_pixels)
        except ServiceError as error:
            self._record_failure(parts, error, has_suffix=has_suffix)
        else:
            self.spooled_images.append(SpooledImage(parts, self._file.tell(), len(content), size))
            self._file.write(content)

    def _record_failure(self, parts: tuple[str, ...], error: ServiceError, *, has_suffix: bool) -> None:
        if has_suffix:
            self.unreadable.append(Unreadable.from_error("/".join(parts), error))
            self.unreadable_parts.append(parts)
            return
        self.ignore_file(parts)

    def _extract_weights(self, parts: tuple[str, ...], body: Readable) -> None:
        content = read_entry(body, _MAX_WEIGHTS_BYTES)
        if content is None:
            raise make_too_large_error(f"{'/'.join(parts)} has more than {_MAX_WEIGHTS_BYTES} bytes", "max_bytes")
        if len(self.weights_files) < _MAX_LISTED:
            self.weights_files[parts] = self._path.with_name(f"{self._path.name}-{len(self.weights_files)}")
            self.weights_files[parts].write_bytes(content)

    def _extract_annotations(self, parts: tuple[str, ...], body: Readable) -> None:
        content = read_entry(body, _MAX_ANNOTATION_BYTES)
        if content is None:
            self.ignore_file(parts)
            return
        path = self._path.with_name(f"{self._path.name}-annotations-{len(self.annotation_files)}")
        path.write_bytes(content)
        self.annotation_files.append(AnnotationFile(parts, path))

    def _extract_list(self, parts: tuple[str, ...], body: Readable) -> None:
        content = read_entry(body, _MAX_ANNOTATION_BYTES)
        if content is None and parts[-1].lower() in LABELS_FILES:
            raise make_too_large_error(f"{'/'.join(parts)} has more than {_MAX_ANNOTATION_BYTES} bytes", "max_bytes")
        if content is None:
            self.ignore_file(parts)
            return
        path = self._path.with_name(f"{self._path.name}-list-{len(self.list_files)}")
        path.write_bytes(content)
        self.list_files.append(AnnotationFile(parts, path))

    def ignore_file(self, parts: tuple[str, ...]) -> None:
        """Add a file to `ignored`."""
        self.num_ignored += 1
        self.ignored_suffixes[get_suffix(parts[-1])] += 1
        if len(self.ignored) < _MAX_LISTED:
            self.ignored.append("/".join(parts))

    def read_images(self, selected: Sequence[SpooledImage]) -> Iterator[bytes]:
        """Yield the content of each image file. The disk space of an image is freed before the next one is read.

        Call this method once: the images cannot be read again.
        """
        fd = self._file.fileno()
        ranges = [(image.offset, image.length) for image in selected]
        blocks = SpoolBlocks(fd, ranges, os.fstat(fd).st_size)
        for offset, length in ranges:
            content = os.pread(fd, length, offset)
            blocks.release(offset, length)
            yield content

    def close(self) -> None:
        """Close the spool file and delete the copies of other files."""
        self._file.close()
        files = (*self.annotation_files, *self.list_files)
        for path in (*self.weights_files.values(), *(file.path for file in files)):
            path.unlink()
