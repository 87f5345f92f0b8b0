"""Reads the entries of plain and gzipped tar archives in one pass."""

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from core.datasets.archives.entries import (
    ArchiveEntry,
    ByteBudget,
    CountingReader,
    EntryValidator,
    Readable,
    check_file_type,
    make_corrupt_error,
    make_unsafe_error,
    translate_archive_errors,
)
from core.datasets.archives.limits import UploadLimits

_MAX_HEADER_BYTES = 2**16
_EXTENSION_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_TYPE_NAMES = {
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "FIFO",
}
_CHUNK_BYTES = 2**16


class _StrictTarInfo(tarfile.TarInfo):
    """A TarInfo that rejects damaged headers, negative sizes (CVE-2025-8194) and oversized extension headers."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the parsed header. As in the base class, a block of zeros ends the archive."""
        if not buf or not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises EmptyHeaderError or EOFHeaderError
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _EXTENSION_TYPES and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"invalid header size {header.size}")
        return header


def read_tar_entries(path: Path, limits: UploadLimits, *, is_gzip: bool) -> Iterator[ArchiveEntry]:
    """Yield the entries of a tar archive.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
    """
    validator = EntryValidator(limits)
    with translate_archive_errors(), _open_file(path, is_gzip=is_gzip) as file:
        stream = CountingReader(file, ByteBudget(path.stat().st_size, limits))
        archive = tarfile.open(  # noqa: SIM115 - the with statement closes the underlying file
            fileobj=cast("BinaryIO", stream),
            mode="r|",
            tarinfo=_StrictTarInfo,
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # TarFile would keep every member in memory
            _check_member(member)
            parts = validator.validate_name(member.name, is_folder=member.isdir())
            if parts:
                yield ArchiveEntry(parts, cast("Readable", archive.extractfile(member)) if member.isfile() else None)
        _check_end(cast("Readable", archive.fileobj), stream)


def _open_file(path: Path, *, is_gzip: bool) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if is_gzip else path.open("rb")


def _check_member(member: tarfile.TarInfo) -> None:
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise make_unsafe_error(member.name, f"is a {_TYPE_NAMES.get(member.type, 'special file')}")
    check_file_type(member.name, member.mode)


def _check_end(remainder: Readable, stream: CountingReader) -> None:
    """Check that only zeros follow the last entry, and that the archive ends with a complete block of zeros.

    Reading to the end also verifies the checksum of a gzip file.
    """
    while chunk := remainder.read(_CHUNK_BYTES):
        if any(chunk):
            raise make_corrupt_error("data follows the end of the archive")
    if len(stream.last_block) < tarfile.BLOCKSIZE or any(stream.last_block):
        raise make_corrupt_error("the end of the archive is missing")
