"""Hostile and unusual tar archives."""

import gzip
import struct
import tarfile
from pathlib import Path

import pytest

from core.datasets.archives.budget import InspectionEnded, QuickCheck
from core.datasets.archives.tar_reader import read_tar_entries
from tests.support.archives import GOOD, LIMITS, get_code, get_error, read_contents
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_archives import claimed_size_tar, pax_size_tar
from tests.support.images import add_tar_file, write_tar


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
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
