"""Encodes a zip archive as a stream, without compression.

The memory for a million entries is about 100 MB: `zipfile` needs five times as much, because it retains an object for
each entry. Equal entries give equal bytes: all of them have the same time. Source: APPNOTE.TXT 6.3.10 of PKWARE.
"""

import struct
import zlib

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_DESCRIPTOR = struct.Struct("<4sLQQ")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_VERSION, _UNIX = 45, 3 << 8  # zip64; the attributes are those of Unix
_UTF8, _STREAMED = 0x800, 0x8
_TIME, _DATE = 0, 0x21  # 1980-01-01 00:00
_MODE = 0o100644 << 16
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


class ZipStream:
    """Encodes the entries of a zip archive one after another. The caller sends the returned bytes in order.

    Args:
        offset: the number of bytes before the archive.
    """

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset
        self._directory = bytearray()
        self._count = 0
        self._streamed: _StreamedEntry | None = None

    def encode_entry(self, name: str, body: bytes) -> bytes:
        """Return an entry with its content, which is in memory and has less than 4 GiB."""
        encoded, crc = name.encode(), zlib.crc32(body)
        header = _LOCAL.pack(b"PK\3\4", 20, _UTF8, 0, _TIME, _DATE, crc, len(body), len(body), len(encoded), 0)
        self._add_to_directory(encoded, _UTF8, crc, len(body))
        return self._count_bytes(header + encoded + body)

    def start_entry(self, name: str) -> bytes:
        """Return the head of an entry of any size. `encode_chunk` and `end_entry` must follow."""
        encoded = name.encode()
        extra = struct.pack("<2H2Q", 1, 16, 0, 0)  # the sizes follow the content
        flags = _UTF8 | _STREAMED
        header = _LOCAL.pack(b"PK\3\4", _VERSION, flags, 0, _TIME, _DATE, 0, _MAX32, _MAX32, len(encoded), len(extra))
        self._streamed = _StreamedEntry(encoded, self._offset)
        return self._count_bytes(header + encoded + extra)

    def encode_chunk(self, chunk: bytes) -> bytes:
        """Return the next part of the content of the started entry."""
        if self._streamed is None:
            raise ValueError("no entry was started")
        self._streamed.crc = zlib.crc32(chunk, self._streamed.crc)
        self._streamed.size += len(chunk)
        return self._count_bytes(chunk)

    def end_entry(self) -> bytes:
        """Return the end of the started entry: its checksum and size."""
        entry, self._streamed = self._streamed, None
        if entry is None:
            raise ValueError("no entry was started")
        self._add_to_directory(entry.name, _UTF8 | _STREAMED, entry.crc, entry.size, entry.offset)
        return self._count_bytes(_DESCRIPTOR.pack(b"PK\7\10", entry.crc, entry.size, entry.size))

    def encode_directory(self) -> bytes:
        """Return the end of the archive: the list of its entries."""
        start, size = self._offset, len(self._directory)
        end64 = _END64.pack(
            b"PK\6\6", 44, _VERSION | _UNIX, _VERSION, 0, 0, self._count, self._count, size, start
        ) + _LOCATOR64.pack(b"PK\6\7", 0, start + size, 1)
        count, needs_zip64 = min(self._count, _MAX16), self._count >= _MAX16 or start + size >= _MAX32
        end = _END.pack(b"PK\5\6", 0, 0, count, count, min(size, _MAX32), min(start, _MAX32), 0)
        return bytes(self._directory) + (end64 if needs_zip64 else b"") + end

    def _add_to_directory(self, name: bytes, flags: int, crc: int, size: int, offset: int | None = None) -> None:
        start = self._offset if offset is None else offset
        is_large = size >= _MAX32 or start >= _MAX32
        extra = struct.pack("<2H3Q", 1, 24, size, size, start) if is_large else b""
        stored, position = (_MAX32, _MAX32) if is_large else (size, start)
        self._directory += _CENTRAL.pack(
            b"PK\1\2", _VERSION | _UNIX, _VERSION if is_large or flags & _STREAMED else 20, flags, 0, _TIME, _DATE,
            crc, stored, stored, len(name), len(extra), 0, 0, 0, _MODE, position,
        )  # fmt: skip
        self._directory += name + extra
        self._count += 1

    def _count_bytes(self, chunk: bytes) -> bytes:
        self._offset += len(chunk)
        return chunk


class _StreamedEntry:
    """An entry of which the size is not known yet."""

    def __init__(self, name: bytes, offset: int) -> None:
        self.name, self.offset = name, offset
        self.crc = self.size = 0
