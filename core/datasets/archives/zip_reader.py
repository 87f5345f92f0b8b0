"""The entries of a zip. Its list is walked by hand first, since `zipfile` would load ten million names at once."""

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
_MAX_COMMENT = 2**16 + 100  # and the zip64 records before it
_ENCRYPTED, _UTF8 = 0x1, 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_zip_entries(path: Path, limits: UploadLimits) -> Iterator[ArchiveEntry]:
    """Yield the entries. Raises `InvalidArchive`."""
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
    """Return the name whole: `zipfile` cuts it at a NUL. Bytes not said to be UTF-8 must be it all the same."""
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
        raise make_unsafe_error(member.filename, "is packed in another way than stored or deflated")


def count_entries(path: Path, limits: UploadLimits) -> int:
    """Return the number of entries, at most `limits.max_entries`; memory stays flat. Raises `InvalidArchive`."""
    with path.open("rb") as file, translate_archive_errors():
        start, size = _find_directory(file, path.stat().st_size)
        file.seek(start)
        count = 0
        while size > 0:
            header = file.read(_ENTRY_SIZE)
            if header[:4] != _ENTRY:
                raise make_corrupt_error("its list of entries is not what its end says")
            lengths = struct.unpack_from("<3H", header, 28)  # name, extra field, comment
            file.seek(sum(lengths), 1)
            size -= _ENTRY_SIZE + sum(lengths)
            count += 1
            if count > limits.max_entries:
                raise make_too_large_error(f"more than {limits.max_entries} entries")
        return count


def _find_directory(file: BinaryIO, file_size: int) -> tuple[int, int]:
    """Return where the central directory starts and how long it is, found just as `zipfile` finds it."""
    file.seek(max(0, file_size - _END_SIZE - _MAX_COMMENT))
    tail = file.read()
    has_no_comment = tail[-_END_SIZE:][:4] == _END and tail[-2:] == b"\0\0"
    end_record = len(tail) - _END_SIZE if has_no_comment else tail.rfind(_END)
    if end_record < 0:
        raise make_corrupt_error("it has no end record")
    (size,) = struct.unpack_from("<L", tail, end_record + 12)
    end = file_size - len(tail) + end_record
    zip64_record = max(0, end_record - _LOCATOR_SIZE - _END64_SIZE)
    if tail[max(0, end_record - _LOCATOR_SIZE) :][:4] == _END64_LOCATOR and tail[zip64_record:][:4] == _END64:
        (size,) = struct.unpack_from("<Q", tail, zip64_record + 40)
        end = file_size - len(tail) + zip64_record
    if size > end:
        raise make_corrupt_error("its list of entries is longer than itself")
    return end - size, size
