"""Hostile and unusual tar archives."""

import gzip
import struct
import tarfile
from pathlib import Path

import pytest

from core.datasets.archives.budget import InspectionEnded, QuickCheck
from core.datasets.archives.entries import read_entry
from core.datasets.archives.tar_reader import read_tar_entries
from core.datasets.archives.uploads import inspect_upload, read_entries
from core.errors import InvalidArchive
from tests.support.archives import GOOD, LIMITS, get_code, get_error, read_contents
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_archives import claimed_size_tar, pax_size_tar
from tests.support.images import add_tar_file, write_tar


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        b"S",
        b"Z",
    ],
)
@pytest.mark.parametrize("target", ["cat/1.png", "/etc/passwd", "../../x"])
def test_other_types_than_files_and_folders_are_rejected(kind: bytes, target: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        add_tar_file(tar, "cat/1.png", b"x")
        member = tarfile.TarInfo("cat/2.png")
        member.type, member.linkname = kind, target
        tar.addfile(member)
    if kind == tarfile.CONTTYPE:  # POSIX requires to read it as a regular file
        assert list(read_contents(tmp_path / "a")) == ["cat/1.png", "cat/2.png"]
    else:
        assert get_code(tmp_path / "a") in {"archive_unsafe_entry", "archive_corrupt"}


def write_links(path: Path, links: dict[str, str], mode: str = "w", size: int = 1) -> Path:
    """Write the file `cat/1.png` and hard links, given by name and target."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        add_tar_file(tar, "cat/1.png", b"x" * size)
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            tar.addfile(member)
        add_tar_file(tar, "cat/last.png", b"y")
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("folder", ["", "n" * 120 + "/"])
def test_a_hard_link_has_the_content_of_an_earlier_file(mode: str, folder: str, tmp_path: Path) -> None:
    links = {f"dog/{folder}2.png": "cat/1.png", "dog/3.png": "./cat/1.png", "dog/4.png": f"dog/{folder}2.png"}
    contents = read_contents(write_links(tmp_path / "a", links, mode, size=5000))
    assert contents == dict.fromkeys(["cat/1.png", *links], b"x" * 5000) | {"cat/last.png": b"y"}
    assert inspect_upload(tmp_path / "a", LIMITS) == ("gzip" if mode == "w:gz" else "tar")


@pytest.mark.parametrize("target", ["cat/last.png", "cat", "/etc/passwd", "../../x", "dog/2.png", "cat//1.png"])
def test_a_hard_link_to_anything_else_is_rejected(target: str, tmp_path: Path) -> None:
    path = write_links(tmp_path / "a", {"dog/2.png": target})
    assert get_code(path) == "archive_unsafe_entry"
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS)


@pytest.mark.parametrize(
    ("limits", "limit"), [({"max_bytes": 10**6}, "max_bytes"), ({"ratio_floor": 10**6}, "max_ratio")]
)
def test_the_content_of_hard_links_counts_towards_the_limits(
    limits: dict[str, int], limit: str, tmp_path: Path
) -> None:
    path = write_links(tmp_path / "a", {f"dog/{n}.png": "cat/1.png" for n in range(20)}, "w:gz", size=10**5)
    error = get_error(path, LIMITS._replace(**limits))
    assert (error.extra["code"], error.extra["limit"]) == ("archive_too_large", limit)


def test_a_hard_link_to_an_oversized_file_is_oversized(tmp_path: Path) -> None:
    path = write_links(tmp_path / "a", {"dog/2.png": "cat/1.png"}, size=5001)
    assert read_contents(path, LIMITS._replace(max_image_bytes=5000))["dog/2.png"] is None


def test_more_of_an_oversized_hard_link_cannot_be_read(tmp_path: Path) -> None:
    path = write_links(tmp_path / "a", {"dog/2.png": "cat/1.png"}, size=5001)
    with pytest.raises(InvalidArchive, match="more than 5000 bytes"):
        [body and read_entry(body, 9000) for _, body in read_entries(path, LIMITS._replace(max_image_bytes=5000))]


def test_a_symbolic_link_is_rejected_with_the_way_to_store_its_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        member = tarfile.TarInfo("cat/2.png")
        member.type, member.linkname = tarfile.SYMTYPE, "1.png"
        tar.addfile(member)
    assert "`tar -h`" in get_error(tmp_path / "a").detail


def test_long_names_are_read(tmp_path: Path) -> None:
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        name = "cat/" + "ä" * 100 + ".png"
        with tarfile.open(tmp_path / str(number), "w", format=form) as tar:
            add_tar_file(tar, name, b"x")
        assert read_contents(tmp_path / str(number)) == {name: b"x"}


def test_a_name_that_is_not_utf_8_is_rejected(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        add_tar_file(tar, "cat/\xe9.png", b"x")
    assert get_code(tmp_path / "a") == "archive_unsafe_entry"


def test_a_large_pax_header_is_rejected(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 10**6}) as tar:
        add_tar_file(tar, "cat/1.png", b"x")
    assert get_code(tmp_path / "a") == "archive_corrupt"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pax", [{"size": "-1024"}, {"size": "99999999999999"}, {"GNU.sparse.size": "-5"}, {"path": "../evil"}]
)
def test_an_invalid_pax_header_is_rejected(pax: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("cat/1.png")
        member.pax_headers = pax
        tar.addfile(member)
        add_tar_file(tar, "cat/2.png", b"x" * 600)
    assert get_code(tmp_path / "a") in {"archive_corrupt", "archive_unsafe_entry"}


@pytest.mark.timeout(20)
def test_a_negative_size_does_not_loop(tmp_path: Path) -> None:
    """CVE-2025-8194: older Python versions loop forever."""
    header = bytearray(tarfile.TarInfo("cat/1.png").tobuf())
    header[124:136] = b"\xff" * 8 + struct.pack(">i", -512)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a").write_bytes(bytes(header) + b"\0" * 4096)
    assert get_code(tmp_path / "a") == "archive_corrupt"


def test_a_damaged_header_in_the_middle_is_corrupt(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", {f"cat/{i}.png": b"x" * 600 for i in range(4)})
    body = bytearray(path.read_bytes())
    at = body.index(b"cat/2.png")
    body[at + 3] ^= 1
    path.write_bytes(body)
    assert get_code(path) == "archive_corrupt"


def test_a_damaged_last_header_is_corrupt(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", {"cat/1.png": b"x", "cat/2.png": b""})
    path.write_bytes(path.read_bytes().replace(b"cat/2.png", b"cat/3.png"))
    assert get_code(path) == "archive_corrupt"


def test_a_wrong_gzip_checksum_is_corrupt(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", GOOD, "w:gz")
    body = bytearray(path.read_bytes())
    body[-6] ^= 1
    path.write_bytes(body)
    assert get_code(path) == "archive_corrupt"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_data_after_the_end_is_corrupt(mode: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", GOOD, mode)
    path.write_bytes(path.read_bytes() + b"trailing junk" * 100)
    assert get_code(path) == "archive_corrupt"


def test_a_gzip_without_a_tar_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"no tar" * 1000))
    assert get_code(tmp_path / "a") == "archive_corrupt"


@pytest.mark.parametrize("body", [claimed_size_tar(), pax_size_tar()], ids=["header", "pax"])
def test_a_size_above_what_remains_is_corrupt(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    error = run_with_limits(get_error, tmp_path / "a")
    assert error.extra["code"] == "archive_corrupt"
    assert "declares 4611686018427387904 bytes" in error.detail


@pytest.mark.parametrize(
    ("limits", "limit"), [({"max_bytes": 10**6}, "max_bytes"), ({"ratio_floor": 10**6}, "max_ratio")]
)
def test_a_size_above_the_limits_is_rejected_before_it_is_read(
    limits: dict[str, int], limit: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(claimed_size_tar(2 * 10**6)))
    error = get_error(tmp_path / "a", LIMITS._replace(**limits))
    assert (error.extra["code"], error.extra["limit"]) == ("archive_too_large", limit)


def test_skipped_content_is_counted(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", {"cat/1.png": bytes(10**6)}, "w:gz")
    ended = QuickCheck(5 * 10**5, 1.0, lambda: False, lambda: 0.0)
    with pytest.raises(InspectionEnded):
        [parts for parts, _ in read_tar_entries(path, LIMITS, is_gzip=True, quick_check=ended)]
