"""Archives that are small but claim, or would need, a lot of work. Each function returns the bytes of one archive."""

import gzip
import struct
import tarfile
import zlib
from collections.abc import Callable

HUGE = 2**62
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


def tar_header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header block. Sizes of 8 GiB and more are written in base 256."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def pax_records(*records: tuple[str, str]) -> bytes:
    """Return the content of a pax header."""
    encoded = b""
    for keyword, value in records:
        rest = f" {keyword}={value}\n".encode()
        length = len(rest) + len(str(len(rest) + 1))
        length += len(str(length)) > len(str(len(rest) + 1))
        encoded += str(length).encode() + rest
    return encoded


def pax_header(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a pax header with its content."""
    return tar_header("pax", len(content), kind) + content + bytes(-len(content) % _BLOCK)


def claimed_size_tar(size: int = HUGE, kind: bytes = tarfile.REGTYPE, name: str = "cat/1.png") -> bytes:
    """Return a tar of 2 KiB whose only member claims `size` bytes."""
    return tar_header(name, size, kind) + _END + bytes(_BLOCK)


def pax_size_tar(size: int = HUGE) -> bytes:
    """Return a tar whose only member claims `size` bytes in a pax header."""
    return pax_header(pax_records(("size", str(size)))) + tar_header("cat/1.png") + _END


def sparse_tar(real_size: int = HUGE) -> bytes:
    """Return a tar with a sparse file in pax format 1.0, which claims `real_size` bytes and a map without end."""
    keys = (("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", str(real_size)))
    sparse_map = b"999999999\n".ljust(_BLOCK, b"\0")
    return pax_header(pax_records(*keys)) + tar_header("cat/1.png", _BLOCK) + sparse_map + _END


def hidden_claimed_size_tar(num_folders: int = 20_010) -> bytes:
    """Return a tar.gz with a huge claimed size behind more folders than an upload's quick check reads."""
    folders = b"".join(tar_header(f"d{number}/", kind=tarfile.DIRTYPE) for number in range(num_folders))
    return gzip.compress(folders + claimed_size_tar(name=".hidden"), 1)


def global_pax_tar(num_keys: int = 100_000, num_entries: int = 400) -> bytes:
    """Return a tar.gz with many keys in global pax headers, which apply to each of the entries."""
    headers: list[bytes] = []
    records = b""
    for number in range(num_keys):
        records += pax_records((f"k{number}", ""))
        if len(records) > 60_000 or number == num_keys - 1:
            headers.append(pax_header(records, tarfile.XGLTYPE) + tar_header(f"g{len(headers)}/", kind=tarfile.DIRTYPE))
            records = b""
    entries = b"".join(tar_header(f"c{number % 3}/{number}.png") for number in range(num_entries))
    return gzip.compress(b"".join(headers) + entries + _END, 9)


def overlapping_pax_tar() -> bytes:
    """Return a tar with a pax header of 64 KiB whose records overlap: each contains all that follow."""
    return pax_header((b"2 " * 2**15)[: 2**16 - 1] + b"=") + tar_header("cat/1.png") + _END


def extension_flood_tar(num_headers: int = 20_000) -> bytes:
    """Return a tar with many extension headers before its only member."""
    return pax_header(pax_records(("comment", ""))) * num_headers + tar_header("cat/1.png") + _END


def bomb_tar(size: int = 2**28) -> bytes:
    """Return a tar.gz whose only member has `size` zeros."""
    return gzip.compress(tar_header("cat/1.png", size) + bytes(size) + _END, 9)


def empty_members_gzip(num_members: int = 200_000) -> bytes:
    """Return a gzip file of many empty members of 20 bytes."""
    return gzip.compress(b"") * num_members


def long_name_gzip(num_bytes: int = 2**25) -> bytes:
    """Return a gzip file whose header has a file name of `num_bytes` bytes, and whose member claims a huge size."""
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * num_bytes + b"\0" + gzip.compress(claimed_size_tar())[10:]


def large_directory_zip(num_entries: int = 300, extra_bytes: int = 65_000, comment_bytes: int = 65_000) -> bytes:
    """Return a zip whose central directory has large extra fields and comments."""
    extra = struct.pack("<HH", 0x9999, extra_bytes - 4) + bytes(extra_bytes - 4)
    names = [f"c{number % 3}/{number}.png".encode() for number in range(num_entries)]
    return _build_zip(names, extra, b"c" * comment_bytes)


def overlapping_zip(num_entries: int = 1000, size: int = 2**20) -> bytes:
    """Return a zip whose entries share compressed content of `size` zeros: each quotes the header of the next one.

    Source: D. Fifield, "A better zip bomb", USENIX WOOT 2019.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    compressed, content = deflate.compress(bytes(size)) + deflate.flush(), bytes(size)
    checksum, num_content = zlib.crc32(content), size
    entries: list[tuple[bytes, tuple[int, ...], int]] = []
    suffix = b""
    for number in range(num_entries):
        name = f"c{number % 2}/{number}.png".encode()
        fields = 0x800, 8, 0, 0, checksum, len(compressed), num_content
        header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, *fields, len(name), 0) + name
        suffix = header + compressed
        entries.append((name, fields, len(suffix)))
        compressed = struct.pack("<BHH", 0, len(header), 0xFFFF - len(header)) + suffix
        checksum = _combine_crc32(zlib.crc32(header), checksum, num_content)
        num_content += len(header)
    directory = b"".join(
        _directory_entry(name, fields, offset=len(suffix) - distance) for name, fields, distance in entries
    )
    return suffix + directory + _end_record(num_entries, directory, len(suffix))


def _combine_crc32(first: int, second: int, num_second: int) -> int:
    """Return the checksum of two byte strings from their checksums. Appending zeros is linear over GF(2)."""
    rows = [1 << bit for bit in range(32)]
    step, count = [0xEDB88320, *(1 << bit for bit in range(31))], num_second * 8

    def apply(matrix: list[int], vector: int) -> int:
        result = 0
        for bit in range(32):
            if vector >> bit & 1:
                result ^= matrix[bit]
        return result

    while count:
        if count & 1:
            rows = [apply(step, row) for row in rows]
        step = [apply(step, row) for row in step]
        count >>= 1
    return apply(rows, first) ^ second


def claimed_size_zip(size: int = HUGE) -> bytes:
    """Return a zip whose only entry claims `size` bytes in a zip64 extra field."""
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    return _build_zip([b"cat/1.png"], extra, b"", claimed=0xFFFFFFFF)


def _build_zip(names: list[bytes], extra: bytes, comment: bytes, content: bytes = b"x", claimed: int = 0) -> bytes:
    """Return a zip with one local file, which all entries of the central directory use."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    compressed = deflate.compress(content) + deflate.flush()
    sizes = claimed or len(compressed), claimed or len(content)
    fields = 0x800, 8, 0, 0, zlib.crc32(content), *sizes
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, *fields, len(names[0]), 0) + names[0] + compressed
    directory = b"".join(_directory_entry(name, fields, extra, comment) for name in names)
    return local + directory + _end_record(len(names), directory, len(local))


def _directory_entry(
    name: bytes, fields: tuple[int, ...], extra: bytes = b"", comment: bytes = b"", offset: int = 0
) -> bytes:
    lengths = len(name), len(extra), len(comment)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, *fields, *lengths, 0, 0, 0, offset) + name + extra + comment


def _end_record(num_entries: int, directory: bytes, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, num_entries, num_entries, len(directory), offset, 0)


CORPUS: dict[str, Callable[[], bytes]] = {
    "claimed-size": claimed_size_tar,
    "claimed-size-folder": lambda: claimed_size_tar(kind=tarfile.DIRTYPE),
    "claimed-size-long-name": lambda: claimed_size_tar(kind=tarfile.GNUTYPE_LONGNAME),
    "claimed-size-sparse": lambda: claimed_size_tar(kind=tarfile.GNUTYPE_SPARSE),
    "claimed-size-gzip": lambda: gzip.compress(claimed_size_tar()),
    "claimed-size-below-limit": lambda: gzip.compress(claimed_size_tar(2**32)),
    "claimed-size-zip": claimed_size_zip,
    "pax-size": pax_size_tar,
    "pax-size-digits": lambda: pax_size_tar(10**4000),
    "pax-size-gzip": lambda: gzip.compress(pax_size_tar()),
    "sparse": sparse_tar,
    "hidden-claimed-size": hidden_claimed_size_tar,
    "global-pax": global_pax_tar,
    "overlapping-pax": overlapping_pax_tar,
    "extension-flood": extension_flood_tar,
    "bomb": bomb_tar,
    "empty-members": empty_members_gzip,
    "long-name": long_name_gzip,
    "large-directory": large_directory_zip,
    "overlapping-zip": overlapping_zip,
}
"""The archives by name. All of them are refused by an import within two seconds of CPU time."""
