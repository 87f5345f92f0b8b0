"""Reads the entries of zip archives. The central directory is checked before `zipfile` loads it into memory."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.datasets.archives.budget import CountingReader, QuickCheck, ReadBudget, make_too_large_error
from core.datasets.archives.entries import (
    ArchiveEntry,
    EntryValidator,
    check_file_type,
    make_corrupt_error,
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
_UNICODE_PATH = 0x7075
_MIN_DIRECTORY_BYTES, _MAX_MEAN_ENTRY_BYTES = 2**20, 1024  # an entry with a name of 100 bytes has about 180 bytes
_CHECK_EVERY = 1024  # entries
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_zip_entries(path: Path, limits: UploadLimits, quick_check: QuickCheck | None = None) -> Iterator[ArchiveEntry]:
    """Yield the entries of a zip archive.

    Raises:
        InvalidArchive: an entry is unsafe, or the archive is damaged or too large.
        InspectionEnded: the quick check reached its limits.
    """
    count_entries(path, limits, quick_check)
    with translate_archive_errors(), zipfile.ZipFile(path) as archive:
        validator = EntryValidator(limits)
        members = [
            (member, validator.validate_name(_decode_name(member), is_folder=member.is_dir()))
            for member in archive.infolist()
        ]
        archive_size = path.stat().st_size
        for member, _ in members:
            _check_member(member, archive_size)
        budget = ReadBudget(archive_size, limits, quick_check)
        budget.check_declared_size(sum(member.file_size for member, _ in members))
        for member, parts in members:
            if member.is_dir():
                yield ArchiveEntry(parts, None)
            else:
                budget.check_time()
                with archive.open(member) as body:
                    yield ArchiveEntry(parts, CountingReader(body, budget))


def _decode_name(member: zipfile.ZipInfo) -> str:
    """Return the name of the entry as stored in the archive.

    Names without the UTF-8 flag are UTF-8 if they are valid as such, because many programs omit the flag, otherwise
    CP437. `ZipInfo.filename` is not used: it ends at the first NUL, and is always decoded as CP437 without the flag.
    Source: PKWARE APPNOTE 6.3.10, appendix D; section 4.6.9 for the extra field with the name in UTF-8.
    """
    if member.flag_bits & _UTF8:
        return member.orig_filename
    encoded = member.orig_filename.encode("cp437")
    for name in (_find_unicode_name(member.extra, zlib.crc32(encoded)), encoded):
        try:
            if name is not None:
                return name.decode()
        except UnicodeError:
            continue
    return member.orig_filename


def _find_unicode_name(extra: bytes, checksum: int) -> bytes | None:
    """Return the name from Info-ZIP's extra field for names in UTF-8, if it belongs to the name with the checksum."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        content, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and content[:1] == b"\1" and content[1:5] == struct.pack("<L", checksum):
            return content[5:]
    return None


def _check_member(member: zipfile.ZipInfo, archive_size: int) -> None:
    check_file_type(member.filename, member.external_attr >> 16)
    if member.flag_bits & _ENCRYPTED:
        raise make_unsafe_error(member.filename, "is encrypted")
    if member.compress_type not in _METHODS:
        raise make_unsafe_error(member.filename, "has an unsupported compression; use stored or deflate")
    if member.compress_size > archive_size - member.header_offset:
        raise make_corrupt_error(f"an entry declares {member.compress_size} bytes; the archive has {archive_size}")


def count_entries(path: Path, limits: UploadLimits, quick_check: QuickCheck | None = None) -> int:
    """Return the number of entries in the central directory, without loading it.

    Raises:
        InvalidArchive: there are more than `limits.max_entries` entries, or the directory is damaged or too large.
        InspectionEnded: the quick check reached its limits.
    """
    with path.open("rb") as file, translate_archive_errors():
        start, size = _find_directory(file, path.stat().st_size)
        _check_directory_size(size, limits.max_entries)
        file.seek(start)
        count, num_left = 0, size
        while num_left > 0:
            header = file.read(_ENTRY_SIZE)
            if header[:4] != _ENTRY:
                raise make_corrupt_error("the central directory does not match the end record")
            lengths = struct.unpack_from("<3H", header, 28)  # lengths of the name, extra field and comment
            file.seek(sum(lengths), 1)
            num_left -= _ENTRY_SIZE + sum(lengths)
            count += 1
            if count > limits.max_entries:
                raise make_too_large_error(f"it has more than {limits.max_entries} entries")
            if quick_check is not None and count % _CHECK_EVERY == 0:
                quick_check.check()
        _check_directory_size(size, count)
        return count


def _check_directory_size(size: int, num_entries: int) -> None:
    """Check the size of the central directory. `zipfile` needs a multiple of that memory."""
    max_bytes = max(_MIN_DIRECTORY_BYTES, _MAX_MEAN_ENTRY_BYTES * num_entries)
    if size > max_bytes:
        raise make_too_large_error(
            f"it has a central directory of {size} bytes; at most {max_bytes} are accepted", "max_directory_bytes"
        )


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
