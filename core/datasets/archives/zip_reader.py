"""The entries of a zip. Its list is walked by hand first, since `zipfile` would load ten million names at once."""

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.datasets.archives.entries import (
    ByteBudget,
    CountingReader,
    Entry,
    EntryValidator,
    corrupt,
    reading,
    refuse_kind,
    size_of,
    too_large,
    unsafe,
)
from core.datasets.archives.limits import Limits

_END = b"PK\5\6"  # end of central directory; source: PKWARE APPNOTE 6.3.10, section 4.3
_END64 = b"PK\6\6"
_END64_LOCATOR = b"PK\6\7"
_ENTRY = b"PK\1\2"
_ENTRY_SIZE, _END_SIZE, _END64_SIZE, _LOCATOR_SIZE = 46, 22, 56, 20
_MAX_COMMENT = 2**16 + 100  # and the zip64 records before it
_ENCRYPTED, _UTF8 = 0x1, 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def entries(path: Path, limits: Limits) -> Iterator[Entry]:
    """Yield the entries. Raises `InvalidArchive`."""
    check_list(path, limits)
    with reading(), zipfile.ZipFile(path) as archive:
        gate = EntryValidator(limits)
        admitted = [(member, gate.validate(_name(member), is_folder=member.is_dir())) for member in archive.infolist()]
        for member, _ in admitted:
            _refuse(member)
        counter = ByteBudget(size_of(path), limits)
        for member, parts in admitted:
            if member.is_dir():
                yield Entry(parts, None)
            else:
                with archive.open(member) as body:
                    yield Entry(parts, CountingReader(body, counter))


def _name(member: zipfile.ZipInfo) -> str:
    """Return the name whole: `zipfile` cuts it at a NUL. Bytes not said to be UTF-8 must be it all the same."""
    if member.flag_bits & _UTF8:
        return member.orig_filename
    try:
        return member.orig_filename.encode("cp437").decode()
    except UnicodeError:
        raise unsafe(member.orig_filename, "has a name that is not UTF-8") from None


def _refuse(member: zipfile.ZipInfo) -> None:
    refuse_kind(member.filename, member.external_attr >> 16)
    if member.flag_bits & _ENCRYPTED:
        raise unsafe(member.filename, "is encrypted")
    if member.compress_type not in _METHODS:
        raise unsafe(member.filename, "is packed in another way than stored or deflated")


def check_list(path: Path, limits: Limits) -> int:
    """Return the number of entries, at most `limits.max_entries`; memory stays flat. Raises `InvalidArchive`."""
    with path.open("rb") as file, reading():
        start, size = _list_place(file, size_of(path))
        file.seek(start)
        count = 0
        while size > 0:
            head = file.read(_ENTRY_SIZE)
            if head[:4] != _ENTRY:
                raise corrupt("its list of entries is not what its end says")
            lengths = struct.unpack_from("<3H", head, 28)  # name, extra field, comment
            file.seek(sum(lengths), 1)
            size -= _ENTRY_SIZE + sum(lengths)
            count += 1
            if count > limits.max_entries:
                raise too_large(f"more than {limits.max_entries} entries")
        return count


def _list_place(file: BinaryIO, file_size: int) -> tuple[int, int]:
    """Return where the central directory starts and how long it is, found just as `zipfile` finds it."""
    file.seek(max(0, file_size - _END_SIZE - _MAX_COMMENT))
    tail = file.read()
    has_no_comment = tail[-_END_SIZE:][:4] == _END and tail[-2:] == b"\0\0"
    at = len(tail) - _END_SIZE if has_no_comment else tail.rfind(_END)
    if at < 0:
        raise corrupt("it has no end record")
    (size,) = struct.unpack_from("<L", tail, at + 12)
    end = file_size - len(tail) + at
    before = max(0, at - _LOCATOR_SIZE - _END64_SIZE)
    if tail[max(0, at - _LOCATOR_SIZE) :][:4] == _END64_LOCATOR and tail[before:][:4] == _END64:
        (size,) = struct.unpack_from("<Q", tail, before + 40)
        end = file_size - len(tail) + before
    if size > end:
        raise corrupt("its list of entries is longer than itself")
    return end - size, size
