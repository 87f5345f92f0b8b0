"""Reads the headers of a tar archive: the size and the name of each member, from its header and extension headers.

`tarfile` parses single headers only. It would read extension headers without a limit, and skip the content of a member
in a loop whose length the header claims.
"""

import tarfile
from collections.abc import Iterator

from core.datasets.archives.budget import Readable, make_too_large_error
from core.datasets.archives.entries import make_corrupt_error, make_unsafe_error

_MAX_HEADER_BYTES = 2**16
_MAX_HEADERS_PER_MEMBER = 16
_MAX_TOTAL_BYTES, _MAX_MEAN_BYTES = 2**20, 4096  # of extension headers; the second is per member
_MAX_GLOBAL_HEADERS, _MAX_GLOBAL_KEYS = 4, 16  # `git archive` writes one header with one key
_MAX_LENGTH_DIGITS, _MAX_SIZE_DIGITS = 5, 20
_PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_GNU_TYPES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_EXTENSION_TYPES = (*_PAX_TYPES, tarfile.XGLTYPE, *_GNU_TYPES)
_SPARSE_KEYWORD = b"GNU.sparse."


class TarHeaderReader:
    """Reads the headers of a tar archive in order. Sizes and names come from extension headers, if there are any."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._num_members = 0
        self._num_bytes = 0
        self._num_global_headers = 0
        self._num_global_keys = 0

    def read_member(self) -> tarfile.TarInfo | None:
        """Return the header of the next member, or None at the end of the archive. `size` is not negative.

        Raises:
            InvalidArchive: a header is damaged, the end is missing, or there are too many extension headers.
            tarfile.TarError: a header is damaged.
        """
        overrides: dict[bytes, bytes] = {}
        for _ in range(_MAX_HEADERS_PER_MEMBER):
            header = self._read_header()
            if header is None or header.type not in _EXTENSION_TYPES:
                return self._apply_overrides(header, overrides)
            content = self._read_content(header)
            if header.type in _PAX_TYPES:
                overrides |= dict(parse_pax_records(content))
            elif header.type == tarfile.XGLTYPE:
                self._check_global_header(content)
            else:
                keyword = b"path" if header.type == tarfile.GNUTYPE_LONGNAME else b"linkpath"
                overrides[keyword] = content.partition(b"\0")[0]
        raise make_too_large_error(
            f"an entry has more than {_MAX_HEADERS_PER_MEMBER} extension headers", "max_extension_headers"
        )

    def _read_header(self) -> tarfile.TarInfo | None:
        block = self._stream.read(tarfile.BLOCKSIZE)
        if not block:
            raise make_corrupt_error("the end of the archive is missing")
        if not any(block):
            return None
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.size < 0:
            raise make_corrupt_error(f"a header declares a size of {header.size} bytes")
        return header

    def _read_content(self, header: tarfile.TarInfo) -> bytes:
        """Return the content of an extension header."""
        if header.size > _MAX_HEADER_BYTES:
            raise make_corrupt_error(
                f"an extension header declares {header.size} bytes; at most {_MAX_HEADER_BYTES} are accepted"
            )
        self._num_bytes += tarfile.BLOCKSIZE + header.size
        max_bytes = _MAX_TOTAL_BYTES + _MAX_MEAN_BYTES * self._num_members
        if self._num_bytes > max_bytes:
            raise make_too_large_error(
                f"it has more than {max_bytes} bytes of extension headers", "max_extension_bytes"
            )
        content = self._stream.read(header.size + -header.size % tarfile.BLOCKSIZE)
        if len(content) < header.size:
            raise make_corrupt_error("an extension header is truncated")
        return content[: header.size]

    def _check_global_header(self, content: bytes) -> None:
        """Check a header that applies to all entries. None of its keys is used."""
        keywords = [keyword for keyword, _ in parse_pax_records(content)]
        self._num_global_headers += 1
        self._num_global_keys += len(keywords)
        if self._num_global_headers > _MAX_GLOBAL_HEADERS or self._num_global_keys > _MAX_GLOBAL_KEYS:
            reason = f"it has more than {_MAX_GLOBAL_HEADERS} global headers or {_MAX_GLOBAL_KEYS} keys in them"
            raise make_too_large_error(reason, "max_global_keys")
        for keyword in keywords:
            if keyword in (b"path", b"linkpath", b"size") or keyword.startswith(_SPARSE_KEYWORD):
                raise make_corrupt_error(f"a global header sets {keyword.decode('latin-1')!a}")

    def _apply_overrides(self, header: tarfile.TarInfo | None, overrides: dict[bytes, bytes]) -> tarfile.TarInfo | None:
        if header is None:
            if overrides:
                raise make_corrupt_error("an extension header has no entry")
            return None
        self._num_members += 1
        if b"path" in overrides:
            header.name = overrides[b"path"].decode("utf-8", "surrogateescape")
        if b"linkpath" in overrides:
            header.linkname = overrides[b"linkpath"].decode("utf-8", "surrogateescape")
        if header.isdir():
            header.name = header.name.rstrip("/")
        if b"size" in overrides:
            header.size = _parse_size(overrides[b"size"])
        if any(keyword.startswith(_SPARSE_KEYWORD) for keyword in overrides):
            raise make_unsafe_error(header.name, "is a sparse file")
        return header


def parse_pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keyword and the value of each record of a pax header. Source: POSIX.1-2017, pax, section 4.

    Raises:
        InvalidArchive: a record is malformed.
    """
    offset = 0
    while offset < len(content):
        digits, space, _ = content[offset : offset + _MAX_LENGTH_DIGITS + 1].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = content[offset : offset + length]
        keyword, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) < length or not record.endswith(b"\n"):  # also if the length is 0
            raise make_corrupt_error("a pax header has a malformed record")
        yield keyword, value
        offset += length


def _parse_size(value: bytes) -> int:
    if not value.isdigit() or len(value) > _MAX_SIZE_DIGITS:
        raise make_corrupt_error(f"a pax header declares the size {value[:40].decode('latin-1')!a}")
    return int(value)
