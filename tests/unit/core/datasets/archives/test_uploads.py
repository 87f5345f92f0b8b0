"""Hostile archives: each kind is refused by name, nothing of it ever becomes a file."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.datasets.archives.entries import read_entry
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.uploads import detect_kind, inspect_upload, read_entries
from core.errors import InvalidArchive
from tests.support.images import add_tar_file, write_tar, write_zip

LIMITS = UploadLimits()
GOOD = {"cat/1.png": b"cat", "dog/1.png": b"dog", "dog/deep/2.png": b"more"}


def contents(path: Path, limits: UploadLimits = LIMITS) -> dict[str, bytes | None]:
    read = {}
    for parts, body in read_entries(path, limits):
        read["/".join(parts)] = None if body is None else read_entry(body, limits.max_image_bytes)
    return read


def refusal(path: Path, limits: UploadLimits = LIMITS) -> InvalidArchive:
    with pytest.raises(InvalidArchive) as refused:
        contents(path, limits)
    return refused.value


def code_of(path: Path, limits: UploadLimits = LIMITS) -> str:
    return str(refusal(path, limits).facts["code"])


ARCHIVES = [
    pytest.param(lambda path, files: write_zip(path, files), id="zip"),
    pytest.param(lambda path, files: write_tar(path, files), id="tar"),
    pytest.param(lambda path, files: write_tar(path, files, "w:gz"), id="tar.gz"),
]
Make = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(params=ARCHIVES)
def make(request: pytest.FixtureRequest) -> Make:
    maker: Make = request.param
    return maker


def test_a_sound_archive_is_read(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD)
    assert contents(path) == GOOD
    assert inspect_upload(path, LIMITS) == detect_kind(path)


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
def test_an_unsafe_name_is_refused_at_the_door_too(name: str, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD | {name: b"evil"})
    assert code_of(path) == "archive_unsafe_entry"
    assert refusal(path).facts["entry"].isascii()
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("twin", ["cat/1.png", "CAT/1.PNG", "./cat/1.png", "cat/1.png/2.png"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_twins_are_refused(twin: str, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD)
    if detect_kind(path) == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(twin, b"twin")
    else:
        mode = "w:gz" if detect_kind(path) == "gzip" else "w"
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            for name in (*GOOD, twin):
                add_tar_file(tar, name, b"x")
    if twin == "cat/1.png/2.png":
        assert contents(path), "a file below a file is odd, but no file is ever made of it"
    else:
        assert code_of(path) == "archive_unsafe_entry"


@pytest.mark.parametrize("stripped", ["./cat/1.png", "cat/1.png"])
def test_a_leading_dot_is_no_part(stripped: str, tmp_path: Path) -> None:
    assert list(contents(write_tar(tmp_path / "a", {stripped: b"x"}))) == ["cat/1.png"]


# ---- zip


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png#": b"x"})
    path.write_bytes(path.read_bytes().replace(b"1.png#", b"1.png\0"))
    assert code_of(path) == "archive_unsafe_entry"


def test_a_zip_name_that_is_not_utf_8_is_refused_and_undeclared_utf_8_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/xx.png": b"x"})
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"xx.png", b"\xff\xfe.png"))
    assert code_of(path) == "archive_unsafe_entry"
    path.write_bytes(sound.replace(b"xx.png", "é.png".encode()))
    assert list(contents(path)) == ["cat/é.png"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_zip_with_a_link_or_device_is_refused(kind: int, tmp_path: Path) -> None:
    member = zipfile.ZipInfo("cat/link.png")
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    assert code_of(tmp_path / "a") == "archive_unsafe_entry"


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"x"})
    body = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        body[body.index(signature) + offset] |= 1
    path.write_bytes(body)
    assert "encrypted" in refusal(path).detail


def test_rare_compression_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("cat/1.png", b"x")
    assert code_of(tmp_path / "a") == "archive_unsafe_entry"


def test_a_wrong_checksum_is_corrupt(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"AAAA"})
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAAB", 1))
    assert code_of(path) == "archive_corrupt"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])  # a tar's last tenth is padding
def test_a_cut_archive_is_corrupt(share: float, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": bytes([i]) * 3000 for i in range(20)})
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    assert code_of(path) == "archive_corrupt"
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS)


def test_a_list_that_says_less_than_it_holds_is_counted(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(300)})
    body = bytearray(path.read_bytes())
    end = body.rindex(b"PK\5\6")
    struct.pack_into("<2H", body, end + 8, 1, 1)  # "one entry"
    path.write_bytes(body)
    assert code_of(path, LIMITS._replace(max_entries=200)) == "archive_too_large"


def test_a_zip64_list_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)
    path = write_zip(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(300)})
    assert b"PK\6\6" in path.read_bytes()
    assert len(contents(path)) == 300
    assert code_of(path, LIMITS._replace(max_entries=200)) == "archive_too_large"


# ---- tar


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
def test_a_tar_with_anything_but_files_and_folders_is_refused(kind: bytes, target: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        add_tar_file(tar, "cat/1.png", b"x")
        member = tarfile.TarInfo("cat/2.png")
        member.type, member.linkname = kind, target
        tar.addfile(member)
    if kind == tarfile.CONTTYPE:  # to be read as a plain file, says POSIX
        assert list(contents(tmp_path / "a")) == ["cat/1.png", "cat/2.png"]
    else:
        assert code_of(tmp_path / "a") in {"archive_unsafe_entry", "archive_corrupt"}


def test_long_names_are_read(tmp_path: Path) -> None:
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        name = "cat/" + "ä" * 100 + ".png"
        with tarfile.open(tmp_path / str(number), "w", format=form) as tar:
            add_tar_file(tar, name, b"x")
        assert contents(tmp_path / str(number)) == {name: b"x"}


def test_a_tar_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        add_tar_file(tar, "cat/\xe9.png", b"x")
    assert code_of(tmp_path / "a") == "archive_unsafe_entry"


def test_a_pax_header_that_asks_for_memory_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 10**6}) as tar:
        add_tar_file(tar, "cat/1.png", b"x")
    assert code_of(tmp_path / "a") == "archive_corrupt"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pax", [{"size": "-1024"}, {"size": "99999999999999"}, {"GNU.sparse.size": "-5"}, {"path": "../evil"}]
)
def test_a_lying_pax_header_is_refused(pax: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("cat/1.png")
        member.pax_headers = pax
        tar.addfile(member)
        add_tar_file(tar, "cat/2.png", b"x" * 600)
    assert code_of(tmp_path / "a") in {"archive_corrupt", "archive_unsafe_entry"}


@pytest.mark.timeout(20)
def test_a_negative_size_ends_at_once(tmp_path: Path) -> None:
    """CVE-2025-8194: older Pythons loop for ever."""
    header = bytearray(tarfile.TarInfo("cat/1.png").tobuf())
    header[124:136] = b"\xff" * 8 + struct.pack(">i", -512)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a").write_bytes(bytes(header) + b"\0" * 4096)
    assert code_of(tmp_path / "a") == "archive_corrupt"


def test_damage_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", {f"cat/{i}.png": b"x" * 600 for i in range(4)})
    body = bytearray(path.read_bytes())
    at = body.index(b"cat/2.png")
    body[at + 3] ^= 1
    path.write_bytes(body)
    assert code_of(path) == "archive_corrupt"


def test_damage_in_the_last_header_is_not_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", {"cat/1.png": b"x", "cat/2.png": b""})
    path.write_bytes(path.read_bytes().replace(b"cat/2.png", b"cat/3.png"))
    assert code_of(path) == "archive_corrupt"


def test_a_wrong_gzip_checksum_is_corrupt(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", GOOD, "w:gz")
    body = bytearray(path.read_bytes())
    body[-6] ^= 1
    path.write_bytes(body)
    assert code_of(path) == "archive_corrupt"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_something_behind_the_end_is_corrupt(mode: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a", GOOD, mode)
    path.write_bytes(path.read_bytes() + b"trailing junk" * 100)
    assert code_of(path) == "archive_corrupt"


def test_a_gzip_of_something_else_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(b"no tar" * 1000))
    assert code_of(tmp_path / "a") == "archive_corrupt"


# ---- too much


def test_a_bomb_is_stopped_by_what_is_read(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": b"\0" * 2**20 for i in range(8)})
    assert code_of(path, LIMITS._replace(max_bytes=3 * 2**20)) == "archive_too_large"


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", b"\0" * 2**24)
    limits = LIMITS._replace(ratio_floor=2**20, max_image_bytes=2**25)
    assert "times its size" in refusal(tmp_path / "a", limits).detail
    assert contents(tmp_path / "a", limits._replace(max_ratio=2000))


def test_a_lying_size_in_a_zip_gives_no_more_than_it_says(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {"cat/1.png": b"A" * 5000})
    path.write_bytes(path.read_bytes().replace(struct.pack("<2L", 5000, 5000), struct.pack("<2L", 5000, 100)))
    assert code_of(path) == "archive_corrupt"


def test_too_many_entries_are_refused(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": b"" for i in range(50)})
    assert code_of(path, LIMITS._replace(max_entries=40)) == "archive_too_large"
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS._replace(max_entries=40))


def test_an_entry_larger_than_an_image_may_be_is_none(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD | {"cat/big.png": b"x" * 5000})
    assert contents(path, LIMITS._replace(max_image_bytes=4999))["cat/big.png"] is None


# ---- the door


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "archive_unknown"),
        (b"hello", "archive_unknown"),
        (b"\x89PNG\r\n\x1a\n", "archive_unknown"),
        (b"Rar!\x1a\7\0", "archive_unknown"),
        (b"PK\5\6" + b"\0" * 18, "archive_empty"),
        (b"PK\3\4 cut", "archive_corrupt"),
        (b"\x1f\x8b\x08 cut", "archive_corrupt"),
    ],
)
def test_what_is_no_archive_is_refused_at_the_door(body: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    with pytest.raises(InvalidArchive) as refused:
        inspect_upload(tmp_path / "a", LIMITS)
    assert refused.value.facts["code"] == code


@pytest.mark.parametrize("body", [b"a,b,c\n1,2,3\n", "grün;rot\n1;2\n".encode(), b"a\tb\n"])
def test_a_table_is_told_by_its_first_line(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    assert inspect_upload(tmp_path / "a", LIMITS) == "table"


def test_the_door_does_not_unpack_what_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.datasets.archives.uploads._MAX_INSPECTED_BYTES", 2**16)
    path = write_tar(tmp_path / "a", {"cat/1.png": b"\0" * 2**22, "../evil": b""}, "w:gz")
    assert inspect_upload(path, LIMITS) == "gzip"
    assert code_of(path) == "archive_unsafe_entry"


def test_an_empty_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w:gz"):
        pass
    with pytest.raises(InvalidArchive) as refused:
        inspect_upload(tmp_path / "a", LIMITS)
    assert refused.value.facts["code"] == "archive_empty"


def test_flipped_bytes_never_raise_anything_else(make: Make, tmp_path: Path) -> None:
    import random

    chance = random.Random(0)
    path = make(tmp_path / "a", GOOD)
    sound = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            contents(path)
        except InvalidArchive:
            continue


def test_nothing_is_read_before_all_names_of_a_zip_are_seen(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", GOOD | {"../evil": io.BytesIO(b"x").getvalue()})
    with pytest.raises(InvalidArchive):
        next(iter(read_entries(path, LIMITS)))
