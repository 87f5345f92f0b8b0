"""Hostile and unusual zip archives."""

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from core.datasets.archives.budget import InspectionEnded, QuickCheck
from core.datasets.archives.uploads import inspect_upload, read_entries
from core.datasets.archives.zip_reader import read_zip_entries
from core.errors import InvalidArchive
from tests.support.archives import GOOD, LIMITS, get_code, get_error, read_contents
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_archives import large_directory_zip, overlapping_zip
from tests.support.images import write_zip


def test_a_name_with_nul_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png#": b"x"})
    path.write_bytes(path.read_bytes().replace(b"1.png#", b"1.png\0"))
    assert get_code(path) == "archive_unsafe_entry"


@pytest.mark.parametrize("encoding", ["utf-8", "cp437"])
def test_a_name_without_the_utf_8_flag_is_utf_8_or_cp437(encoding: str, tmp_path: Path) -> None:
    encoded = "é.png".encode(encoding)
    path = write_zip(tmp_path / "a", {"cat/" + "x" * (len(encoded) - 4) + ".png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"x" * (len(encoded) - 4) + b".png", encoded))
    assert read_contents(path) == {"cat/é.png": b"x"}


@pytest.mark.parametrize(("checksum", "name"), [(zlib.crc32(b"cat/xx.png"), "cat/日本.png"), (0, "cat/xx.png")])
def test_a_name_in_the_unicode_extra_field_is_used_if_its_checksum_is_valid(
    checksum: int, name: str, tmp_path: Path
) -> None:
    member = zipfile.ZipInfo("cat/xx.png")
    content = struct.pack("<BL", 1, checksum) + "cat/日本.png".encode()
    member.extra = struct.pack("<2H", 0x7075, len(content)) + content
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(member, b"x")
    assert list(read_contents(tmp_path / "a")) == [name]


def test_an_unsafe_name_in_the_unicode_extra_field_is_rejected(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("cat/xx.png")
    content = struct.pack("<BL", 1, zlib.crc32(b"cat/xx.png")) + b"../evil.png"
    member.extra = struct.pack("<2H", 0x7075, len(content)) + content
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(member, b"x")
    assert get_code(tmp_path / "a") == "archive_unsafe_entry"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_link_or_device_is_rejected(kind: int, tmp_path: Path) -> None:
    member = zipfile.ZipInfo("cat/link.png")
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    assert get_code(tmp_path / "a") == "archive_unsafe_entry"
    assert ("`zip -r`" in get_error(tmp_path / "a").detail) is (kind == stat.S_IFLNK)


def test_an_encrypted_entry_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"x"})
    body = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        body[body.index(signature) + offset] |= 1
    path.write_bytes(body)
    assert "encrypted" in get_error(path).detail


def test_an_unsupported_compression_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("cat/1.png", b"x")
    assert get_code(tmp_path / "a") == "archive_unsafe_entry"


def test_a_wrong_checksum_is_corrupt(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"AAAA"})
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAAB", 1))
    assert get_code(path) == "archive_corrupt"


def test_a_wrong_entry_count_does_not_hide_entries(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(300)})
    body = bytearray(path.read_bytes())
    end = body.rindex(b"PK\5\6")
    struct.pack_into("<2H", body, end + 8, 1, 1)  # "one entry"
    path.write_bytes(body)
    assert get_code(path, LIMITS._replace(max_entries=200)) == "archive_too_large"


def test_zip64_entries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    path = write_zip(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(300)})
    assert b"PK\6\6" in path.read_bytes()
    assert len(read_contents(path)) == 300
    assert get_code(path, LIMITS._replace(max_entries=200)) == "archive_too_large"


def test_a_wrong_size_is_corrupt(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"A" * 5000})
    path.write_bytes(path.read_bytes().replace(struct.pack("<2L", 5000, 5000), struct.pack("<2L", 5000, 100)))
    assert get_code(path) == "archive_corrupt"


def test_all_names_are_validated_before_the_first_entry(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", GOOD | {"../evil": io.BytesIO(b"x").getvalue()})
    with pytest.raises(InvalidArchive):
        next(iter(read_entries(path, LIMITS)))


def test_a_large_central_directory_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(large_directory_zip(300))
    with pytest.raises(InvalidArchive, match="a central directory of 39016690 bytes; at most 1048576 are accepted"):
        run_with_limits(inspect_upload, tmp_path / "a", LIMITS, new_bytes=20 * 2**20)


def test_long_names_are_within_the_limit_of_the_central_directory(tmp_path: Path) -> None:
    folder = "f" * 200
    path = write_zip(tmp_path / "a", {f"cat/{folder}/{folder}/{folder}/{number}.png": b"" for number in range(3000)})
    assert len(read_contents(path)) == 3000


def test_overlapping_entries_are_within_the_budget_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(overlapping_zip(20, 2**20))
    assert len(read_contents(tmp_path / "a")) == 20
    assert get_code(tmp_path / "a", LIMITS._replace(max_bytes=10 * 2**20)) == "archive_too_large"


def test_the_time_is_checked_before_each_entry(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {f"cat/{number}.png": b"" for number in range(9)})
    times = iter([0.0, 0.0, 0.0, 9.0])
    entries = read_zip_entries(path, LIMITS, QuickCheck(10**6, 5.0, lambda: False, lambda: next(times)))
    with pytest.raises(InspectionEnded):
        list(entries)
    assert not list(times)
