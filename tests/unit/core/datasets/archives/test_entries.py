"""Unsafe entries and archives that exceed the limits."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from core.datasets.archives.uploads import detect_kind, inspect_upload
from core.errors import InvalidArchive
from tests.support.archives import GOOD, LIMITS, Make, get_code, get_error, read_contents
from tests.support.images import add_tar_file, write_tar


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "cat/../../evil.png",
        "cat/..",
        "/etc/evil.png",
        "C:/evil.png",
        "c:evil.png",
        "cat\\evil.png",
        "..\\evil.png",
        "cat//evil.png",
        "cat/\x07.png",
        "cat/line\nbreak.png",
        "x" * 1025,
        "/".join("d" * 17),
    ],
)
def test_an_unsafe_name_is_rejected(name: str, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD | {name: b"evil"})
    assert get_code(path) == "archive_unsafe_entry"
    assert get_error(path).extra["entry"].isascii()
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("duplicate", ["cat/1.png", "./cat/1.png", "cat/1.png/2.png"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_names_are_rejected(duplicate: str, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD)
    if detect_kind(path) == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(duplicate, b"x")
    else:
        mode = "w:gz" if detect_kind(path) == "gzip" else "w"
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for name in (*GOOD, duplicate):
                add_tar_file(tar, name, b"x")
    if duplicate == "cat/1.png/2.png":
        assert read_contents(path), "entries are never written to disk"
    else:
        assert get_code(path) == "archive_unsafe_entry"


def test_names_that_differ_by_case_are_kept(make: Make, tmp_path: Path) -> None:
    files = {"cat/IMG_1.JPG": b"1", "cat/img_1.jpg": b"2", "Cat/img_1.jpg": b"3"}
    assert read_contents(make(tmp_path / "a", files)) == files


def test_names_that_differ_only_in_unicode_form_are_duplicates(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {"cat/\u00e9.png": b"1", "cat/e\u0301.png": b"2"})
    assert get_code(path) == "archive_unsafe_entry"


@pytest.mark.parametrize("stripped", ["./cat/1.png", "cat/1.png"])
def test_a_leading_dot_is_removed(stripped: str, tmp_path: Path) -> None:
    assert list(read_contents(write_tar(tmp_path / "a", {stripped: b"x"}))) == ["cat/1.png"]


def test_a_bomb_is_stopped_by_the_bytes_read(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": b"\0" * 2**20 for i in range(8)})
    assert get_code(path, LIMITS._replace(max_bytes=3 * 2**20)) == "archive_too_large"


def test_a_bomb_is_stopped_by_its_compression_ratio(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", b"\0" * 2**24)
    limits = LIMITS._replace(ratio_floor=2**20, max_image_bytes=2**25)
    assert "times its size" in get_error(tmp_path / "a", limits).detail
    assert read_contents(tmp_path / "a", limits._replace(max_ratio=2000))


def test_too_many_entries_are_rejected(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(50)})
    assert get_code(path, LIMITS._replace(max_entries=40)) == "archive_too_large"
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS._replace(max_entries=40))


def test_an_oversized_entry_is_none(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD | {"cat/big.png": b"x" * 5000})
    assert read_contents(path, LIMITS._replace(max_image_bytes=4999))["cat/big.png"] is None
