"""Reads the entries of plain and gzipped tar archives in one pass."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from core.datasets.archives.budget import CountingReader, QuickCheck, Readable, ReadBudget
from core.datasets.archives.entries import (
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
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
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
    """Yield the entries of a tar archive.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
        InspectionEnded: the quick check reached its limits.
    """
    validator, archive_size = EntryValidator(limits), path.stat().st_size
    budget = ReadBudget(archive_size, limits, quick_check)
    with translate_archive_errors(), path.open("rb") as file:
        stream = CountingReader(io.BufferedReader(GzipStream(file, budget), _BUFFER_BYTES) if is_gzip else file, budget)
        headers = TarHeaderReader(stream)
        while (member := headers.read_member()) is not None:
            is_file = _check_member(member)
            parts = validator.validate_name(member.name, is_folder=not is_file)
            size = member.size if is_file else 0  # a folder has no content, whatever its header declares
            if not is_gzip and size > archive_size - budget.total:
                raise make_corrupt_error(
                    f"an entry declares {size} bytes, but {archive_size - budget.total} bytes remain"
                )
            budget.check_declared_size(member.size)
            body = _MemberBody(stream, size)
            if parts:
                yield ArchiveEntry(parts, body if is_file else None)
            body.skip()
        _check_end(stream)


def _check_member(member: tarfile.TarInfo) -> bool:
    """Return whether the member is a file. Otherwise it is a folder."""
    is_file = member.type in _FILE_TYPES
    if not is_file and not member.isdir():
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
