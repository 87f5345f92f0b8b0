"""Reads the entries of plain and gzipped tar archives in one pass, or in two if there are hard links."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.datasets.archives.budget import CountingReader, QuickCheck, Readable, ReadBudget
from core.datasets.archives.entries import (
    SYMBOLIC_LINK,
    ArchiveEntry,
    EntryValidator,
    check_file_type,
    make_corrupt_error,
    make_unsafe_error,
    translate_archive_errors,
)
from core.datasets.archives.gzip_stream import GzipStream
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.tar_headers import TarHeaderReader

_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)  # POSIX requires to read CONTTYPE as a regular file
_TYPE_NAMES = {
    tarfile.SYMTYPE: SYMBOLIC_LINK,
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "FIFO",
}
_CHUNK_BYTES = _BUFFER_BYTES = 2**16


class _MemberBody:
    """The content of a member, up to the size that its header declares."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self._num_left = size
        self._num_padding = -size % tarfile.BLOCKSIZE

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, or b"" at the end.

        Raises:
            InvalidArchive: the archive is truncated.
        """
        content = self._stream.read(min(size, self._num_left))
        if not content and size and self._num_left:
            raise make_corrupt_error("the content of an entry is truncated")
        self._num_left -= len(content)
        return content

    def skip(self) -> None:
        """Read the rest of the content and the padding."""
        while self.read(_CHUNK_BYTES):
            pass
        self._num_left, self._num_padding = self._num_padding, 0
        while self.read(_CHUNK_BYTES):
            pass


def read_tar_entries(
    path: Path, limits: UploadLimits, *, is_gzip: bool, quick_check: QuickCheck | None = None
) -> Iterator[ArchiveEntry]:
    """Yield the entries of a tar archive. Hard links have the content of earlier entries, and are yielded last.

    A quick check does not yield hard links.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
        InspectionEnded: the quick check reached its limits.
    """
    links = _HardLinks()
    members = _TarMembers(path, limits, is_gzip=is_gzip, quick_check=quick_check)
    yield from members.read_entries(links)
    if links.names and quick_check is None:
        again = _TarMembers(path, limits, is_gzip=is_gzip)
        yield from links.read_linked_entries(again.read_entries(_HardLinks()), limits.max_image_bytes)


class _HardLinks:
    """The hard links of an archive, and the sizes of the files that they can name."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, ...], list[tuple[str, ...]]] = {}  # keyed by the name of the file
        self._files: dict[
            tuple[str, ...], tuple[tuple[str, ...], int]
        ] = {}  # (file, size), keyed by name of file or link

    def add_file(self, parts: tuple[str, ...], size: int) -> None:
        self._files[parts] = parts, size

    def add_link(self, parts: tuple[str, ...], target: tuple[str, ...], name: str) -> int:
        """Add a link and return the size of the file.

        Raises:
            InvalidArchive: the target is not an earlier file.
        """
        if target not in self._files:
            raise make_unsafe_error(name, "is a hard link to a file that is not before it in the archive")
        file, size = self._files[parts] = self._files[target]
        self.names.setdefault(file, []).append(parts)
        return size

    def read_linked_entries(self, entries: Iterable[ArchiveEntry], max_bytes: int) -> Iterator[ArchiveEntry]:
        """Yield an entry for each link, with the first `max_bytes` + 1 bytes of its file, which are kept in memory."""
        num_left = len(self.names)
        for parts, body in entries:
            if body is not None and parts in self.names:
                content = _read_up_to(body, max_bytes + 1)
                for name in self.names[parts]:
                    yield ArchiveEntry(name, _LinkedBody(content, max_bytes, name))
                num_left -= 1
            if not num_left:
                return


class _LinkedBody:
    """The content of a hard link. Content above the limit of image files is not available."""

    def __init__(self, content: bytes, max_bytes: int, parts: tuple[str, ...]) -> None:
        self._stream = io.BytesIO(content)
        self._is_truncated = len(content) > max_bytes
        self._max_bytes = max_bytes
        self._parts = parts

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, or b"" at the end.

        Raises:
            InvalidArchive: the rest of the content is not available.
        """
        content = self._stream.read(size)
        if size and not content and self._is_truncated:
            reason = f"is a hard link to a file with more than {self._max_bytes} bytes"
            raise make_unsafe_error("/".join(self._parts), reason)
        return content


class _TarMembers:
    """Reads the members of an archive once."""

    def __init__(
        self, path: Path, limits: UploadLimits, *, is_gzip: bool, quick_check: QuickCheck | None = None
    ) -> None:
        self._path = path
        self._is_gzip = is_gzip
        self._archive_size = path.stat().st_size
        self._num_linked = 0
        self._validator = EntryValidator(limits)
        self._budget = ReadBudget(self._archive_size, limits, quick_check)

    def read_entries(self, links: _HardLinks) -> Iterator[ArchiveEntry]:
        """Yield the files and folders. Hard links are added to `links`. Their content counts as read."""
        with translate_archive_errors(), self._path.open("rb") as file:
            content = io.BufferedReader(GzipStream(file, self._budget), _BUFFER_BYTES) if self._is_gzip else file
            stream = CountingReader(content, self._budget)
            headers = TarHeaderReader(stream)
            while (member := headers.read_member()) is not None:
                is_file = _check_member(member)
                parts = self._validator.validate_name(member.name, is_folder=member.isdir())
                size = (
                    member.size if is_file else 0
                )  # folders and links have no content, whatever their headers declare
                self._check_size(size, member.size)
                body = _MemberBody(stream, size)
                if member.islnk():
                    target = self._validator.split_name(member.linkname)
                    self._count_link(links.add_link(parts, target, member.name))
                elif parts:
                    if is_file:
                        links.add_file(parts, size)
                    yield ArchiveEntry(parts, body if is_file else None)
                body.skip()
            _check_end(stream)

    def _count_link(self, size: int) -> None:
        self._num_linked += size
        self._budget.add_bytes(size)

    def _check_size(self, size: int, declared: int) -> None:
        num_left = self._archive_size - (self._budget.total - self._num_linked)
        if not self._is_gzip and size > num_left:
            raise make_corrupt_error(f"an entry declares {size} bytes, but {num_left} bytes remain")
        self._budget.check_declared_size(declared)


def _read_up_to(body: Readable, size: int) -> bytes:
    content = bytearray()
    while len(content) < size and (chunk := body.read(min(_CHUNK_BYTES, size - len(content)))):
        content += chunk
    return bytes(content)


def _check_member(member: tarfile.TarInfo) -> bool:
    """Return whether the member is a file. Otherwise it is a folder or a hard link."""
    is_file = member.type in _FILE_TYPES
    if not is_file and not member.isdir() and not member.islnk():
        raise make_unsafe_error(member.name, f"is a {_TYPE_NAMES.get(member.type, 'special file')}")
    check_file_type(member.name, member.mode)
    return is_file


def _check_end(stream: CountingReader) -> None:
    """Check that only zeros follow and the last block is complete. Reading to the end verifies the gzip checksum."""
    while chunk := stream.read(_CHUNK_BYTES):
        if any(chunk):
            raise make_corrupt_error("data follows the end of the archive")
    if len(stream.last_block) < tarfile.BLOCKSIZE or any(stream.last_block):
        raise make_corrupt_error("the end of the archive is missing")
