"""Headers and extension headers of tar archives."""

import io
import tarfile

import pytest

from core.datasets.archives.tar_headers import TarHeaderReader, parse_pax_records
from core.errors import InvalidArchive
from tests.support.hostile_archives import pax_header, pax_records, tar_header

END = bytes(1024)


def read_members(body: bytes) -> list[tuple[str, int]]:
    """Return the name and size of each member. None of them has content."""
    reader, members = TarHeaderReader(io.BytesIO(body)), []
    while (member := reader.read_member()) is not None:
        members.append((member.name, member.size))
    return members


def test_pax_headers_override_the_name_and_the_size_of_one_member() -> None:
    header = pax_header(pax_records(("path", "cat/ä.png"), ("size", "12345"), ("mtime", "1.5")))
    body = header + tar_header("x") + tar_header("y", 7) + END
    assert read_members(body) == [("cat/ä.png", 12345), ("y", 7)]


def test_a_long_name_of_gnu_tar_overrides_the_name() -> None:
    name = "cat/" + "n" * 200
    content = (name.encode() + b"\0").ljust(512, b"\0")
    body = tar_header("x", len(name) + 1, tarfile.GNUTYPE_LONGNAME) + content + tar_header("x") + END
    assert read_members(body) == [(name, 0)]


def test_the_global_header_of_git_archive_is_accepted() -> None:
    header = pax_header(pax_records(("comment", "a" * 40)), tarfile.XGLTYPE)
    assert read_members(header + tar_header("cat/1.png") + END) == [("cat/1.png", 0)]


@pytest.mark.parametrize(
    "headers",
    [
        [[(f"k{number}", "")] for number in range(5)],
        [[(f"k{number}", "") for number in range(17)]],
        [[("path", "cat/1.png")]],
        [[("size", "1")]],
        [[("GNU.sparse.major", "1")]],
    ],
    ids=["headers", "keys", "path", "size", "sparse"],
)
def test_other_global_headers_are_rejected(headers: list[list[tuple[str, str]]]) -> None:
    body = b"".join(pax_header(pax_records(*records), tarfile.XGLTYPE) for records in headers)
    with pytest.raises(InvalidArchive, match="global header"):
        read_members(body + tar_header("cat/1.png") + END)


def test_the_number_of_extension_headers_of_a_member_is_limited() -> None:
    header = pax_header(pax_records(("comment", "")))
    assert len(read_members(header * 15 + tar_header("cat/1.png") + END)) == 1
    with pytest.raises(InvalidArchive, match="an entry has more than 16 extension headers"):
        read_members(header * 16 + tar_header("cat/1.png") + END)


def test_the_bytes_of_all_extension_headers_are_limited() -> None:
    member = pax_header(pax_records(("comment", "x" * 60_000))) + tar_header("cat/1.png")
    assert len(read_members(member * 10 + END)) == 10
    with pytest.raises(InvalidArchive, match="bytes of extension headers"):
        read_members(member * 50 + END)


@pytest.mark.parametrize(
    "body", [b"", tar_header("cat/1.png"), pax_header(b""), pax_header(pax_records(("path", "x"))) + END]
)
def test_an_archive_without_end_or_member_is_corrupt(body: bytes) -> None:
    with pytest.raises(InvalidArchive, match="damaged"):
        read_members(body)


@pytest.mark.parametrize(
    "content", [b"x", b"5 a=", b"0 a=\n", b"4 a=\n", b"99 a=\n", b"-5 a=\n", b"5 ab\n", b" 5 a=\n", b"5 a=\n\n", b"1 "]
)
def test_a_malformed_pax_record_is_corrupt(content: bytes) -> None:
    with pytest.raises(InvalidArchive, match="malformed record"):
        list(parse_pax_records(content))


def test_pax_records_are_parsed() -> None:
    assert list(parse_pax_records(b"5 a=\n8 b=1=\n\n")) == [(b"a", b""), (b"b", b"1=\n")]
