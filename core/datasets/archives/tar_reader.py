"""The entries of a tar, plain or gzipped, in one pass; `tarfile` is kept from the traps of older Pythons."""

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self, cast

from core.datasets.archives.entries import (
    ByteBudget,
    CountingReader,
    Entry,
    EntryValidator,
    Readable,
    corrupt,
    reading,
    refuse_kind,
    size_of,
    unsafe,
)
from core.datasets.archives.limits import Limits

_MAX_HEADER_BYTES = 2**16
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_KINDS = {
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "FIFO",
}
_PIECE = 2**16


class _StrictTarInfo(tarfile.TarInfo):
    """Damage in the middle is an error, not the end; no header asks for memory or leads backwards (CVE-2025-8194)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if not buf or not any(buf):
            return super().frombuf(buf, encoding, errors)  # raises what means the end
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header with a size of {header.size}")
        return header


def entries(path: Path, limits: Limits, *, is_gzip: bool) -> Iterator[Entry]:
    """Yield the entries. Raises `InvalidArchive`."""
    gate = EntryValidator(limits)
    with reading(), _opened(path, is_gzip=is_gzip) as file:
        stream = CountingReader(file, ByteBudget(size_of(path), limits))
        archive = tarfile.open(  # noqa: SIM115 - there is nothing of its own to close
            fileobj=cast("BinaryIO", stream),
            mode="r|",
            tarinfo=_StrictTarInfo,
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # unless forgotten, a million of them are kept
            _refuse(member)
            parts = gate.validate(member.name, is_folder=member.isdir())
            if parts:
                yield Entry(parts, cast("Readable", archive.extractfile(member)) if member.isfile() else None)
        _read_to_end(cast("Readable", archive.fileobj), stream)


def _opened(path: Path, *, is_gzip: bool) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if is_gzip else path.open("rb")


def _refuse(member: tarfile.TarInfo) -> None:
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise unsafe(member.name, f"is a {_KINDS.get(member.type, 'special file')}")
    refuse_kind(member.name, member.mode)


def _read_to_end(rest: Readable, stream: CountingReader) -> None:
    """See that nothing but zeros follows, and that the end is there: else it was cut, or the checksum never checked."""
    while piece := rest.read(_PIECE):
        if any(piece):
            raise corrupt("something lies behind its end")
    if len(stream.last_block) < tarfile.BLOCKSIZE or any(stream.last_block):
        raise corrupt("its end is missing")
