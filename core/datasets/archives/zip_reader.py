"""Reads the entries of zip archives. The number of entries is checked before `zipfile` loads the central directory."""

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.datasets.archives.entries import (
    ArchiveEntry,
    ByteBudget,
    CountingReader,
    EntryValidator,
    check_file_type,
    make_corrupt_error,
    make_too_large_error,
    make_unsafe_error,
    translate_archive_errors,
)
from core.datasets.archives.limits import UploadLimits

_END = b"PK\5\6"  # end of central directory; source: PKWARE APPNOTE 6.3.10, section 4.3
_END64 = b"PK\6\6"
_END64_LOCATOR = b"PK\6\7"
_ENTRY = b"PK\1\2"
_ENTRY_SIZE, _END_SIZE, _END64_SIZE, _LOCATOR_SIZE = 46, 22, 56, 20
_MAX_COMMENT = 2**16 + 100  # bytes, including the zip64 records before the end record
_ENCRYPTED, _UTF8 = 0x1, 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_zip_entries(path: Path, limits: UploadLimits) -> Iterator[ArchiveEntry]:
    """Yield the entries of a zip archive.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
    """
    count_entries(path, limits)
    with translate_archive_errors(), zipfile.ZipFile(path) as archive:
        validator = EntryValidator(limits)
        members = [
            (member, validator.validate_name(_decode_name(member), is_folder=member.is_dir()))
            for member in archive.infolist()
        ]
        for member, _ in members:
            _check_member(member)
        budget = ByteBudget(path.stat().st_size, limits)
        for member, parts in members:
            if member.is_dir():
                yield ArchiveEntry(parts, None)
            else:
                with archive.open(member) as body:
                    yield ArchiveEntry(parts, CountingReader(body, budget))


def _decode_name(member: zipfile.ZipInfo) -> str:
    """Return the name of the entry as stored in the archive, decoded as UTF-8.

    `ZipInfo.filename` is not used: it ends at the first NUL, and names without the UTF-8 flag are decoded as CP437.
    """
    if member.flag_bits & _UTF8:
        return member.orig_filename
    try:
        return member.orig_filename.encode("cp437").decode()
    except UnicodeError:
        raise make_unsafe_error(member.orig_filename, "has a name that is not UTF-8") from None


def _check_member(member: zipfile.ZipInfo) -> None:
    check_file_type(member.filename, member.external_attr >> 16)
    if member.flag_bits & _ENCRYPTED:
        raise make_unsafe_error(member.filename, "is encrypted")
    if member.compress_type not in _METHODS:
        raise make_unsafe_error(member.filename, "has an unsupported compression; use stored or deflate")


def count_entries(path: Path, limits: UploadLimits) -> int:
    """Return the number of entries in the central directory, without loading it.

    Raises:
        InvalidArchive: there are more than `limits.max_entries` entries, or the directory is damaged.
    """
    with path.open("rb") as file, translate_archive_errors():
        start, size = _find_directory(file, path.stat().st_size)
        file.seek(start)
        count = 0
        while size > 0:
            header = file.read(_ENTRY_SIZE)
            if header[:4] != _ENTRY:
                raise make_corrupt_error("the central directory does not match the end record")
            lengths = struct.unpack_from("<3H", header, 28)  # lengths of the name, extra field and comment
            file.seek(sum(lengths), 1)
            size -= _ENTRY_SIZE + sum(lengths)
            count += 1
            if count > limits.max_entries:
                raise make_too_large_error(f"it has more than {limits.max_entries} entries")
        return count


def _find_directory(file: BinaryIO, file_size: int) -> tuple[int, int]:
    """Locate the central directory in the same way as `zipfile`. Return its offset and size."""
    file.seek(max(0, file_size - _END_SIZE - _MAX_COMMENT))
    tail = file.read()
    has_no_comment = tail[-_END_SIZE:][:4] == _END and tail[-2:] == b"\0\0"
    end_record = len(tail) - _END_SIZE if has_no_comment else tail.rfind(_END)
    if end_record < 0:
        raise make_corrupt_error("the end record is missing")
    (size,) = struct.unpack_from("<L", tail, end_record + 12)
    end = file_size - len(tail) + end_record
    zip64_record = max(0, end_record - _LOCATOR_SIZE - _END64_SIZE)
    if tail[max(0, end_record - _LOCATOR_SIZE) :][:4] == _END64_LOCATOR and tail[zip64_record:][:4] == _END64:
        (size,) = struct.unpack_from("<Q", tail, zip64_record + 40)
        end = file_size - len(tail) + zip64_record
    if size > end:
        raise make_corrupt_error("the central directory is larger than the archive")
    return end - size, size
