"""Detecting, inspecting and reading uploads."""

import itertools
import tarfile
from pathlib import Path

import pytest

from core.datasets.archives.budget import InspectionCancelled
from core.datasets.archives.uploads import detect_kind, inspect_upload
from core.errors import InvalidArchive
from tests.support.archives import GOOD, LIMITS, Make, get_code, read_contents
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_archives import CORPUS
from tests.support.images import write_tar


def test_a_valid_archive_is_read(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", GOOD)
    assert read_contents(path) == GOOD
    assert inspect_upload(path, LIMITS) == detect_kind(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])  # a tar's last tenth is padding
def test_a_truncated_archive_is_corrupt(share: float, make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{i}.png": bytes([i]) * 3000 for i in range(20)})
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    assert get_code(path) == "archive_corrupt"
    with pytest.raises(InvalidArchive):
        inspect_upload(path, LIMITS)


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
def test_other_files_are_rejected(body: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    with pytest.raises(InvalidArchive) as raised:
        inspect_upload(tmp_path / "a", LIMITS)
    assert raised.value.extra["code"] == code


@pytest.mark.parametrize("body", [b"a,b,c\n1,2,3\n", "grün;rot\n1;2\n".encode(), b"a\tb\n"])
def test_a_table_is_detected_by_its_first_line(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(body)
    assert inspect_upload(tmp_path / "a", LIMITS) == "table"


def test_the_inspection_of_a_large_archive_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.datasets.archives.uploads._MAX_INSPECTED_BYTES", 2**16)
    path = write_tar(tmp_path / "a", {"cat/1.png": b"\0" * 2**22, "../evil": b""}, "w:gz")
    assert inspect_upload(path, LIMITS) == "gzip"
    assert get_code(path) == "archive_unsafe_entry"


def test_an_empty_tar_is_rejected(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w:gz"):
        pass
    with pytest.raises(InvalidArchive) as raised:
        inspect_upload(tmp_path / "a", LIMITS)
    assert raised.value.extra["code"] == "archive_empty"


def test_random_damage_raises_documented_errors_only(make: Make, tmp_path: Path) -> None:
    import random

    rng = random.Random(0)
    path = make(tmp_path / "a", GOOD)
    valid = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(valid)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_contents(path)
        except InvalidArchive:
            continue


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_archive_is_refused_with_little_cpu_time_and_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CORPUS[name]())
    with pytest.raises(InvalidArchive):
        run_with_limits(read_contents, tmp_path / "a", new_bytes=200 * 2**20)


@pytest.mark.parametrize("name", [name for name in CORPUS if name != "hidden-claimed-size"])
def test_the_inspection_refuses_hostile_archives(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CORPUS[name]())
    with pytest.raises(InvalidArchive):
        run_with_limits(inspect_upload, tmp_path / "a", LIMITS, new_bytes=200 * 2**20)


def test_the_inspection_ends_after_its_time(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{number}.png": b"x" for number in range(50)})
    ticks = itertools.count(step=0.5)
    assert inspect_upload(path, LIMITS, clock=lambda: next(ticks)) == detect_kind(path)
    assert next(ticks) < 10


def test_the_inspection_ends_when_it_is_cancelled(make: Make, tmp_path: Path) -> None:
    path = make(tmp_path / "a", {f"cat/{number}.png": b"x" for number in range(50)})
    checks = itertools.count()
    with pytest.raises(InspectionCancelled):
        inspect_upload(path, LIMITS, is_cancelled=lambda: next(checks) >= 3)
    assert next(checks) == 4
