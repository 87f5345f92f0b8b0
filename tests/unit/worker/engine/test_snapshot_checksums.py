"""Tests of finding the latest valid snapshot."""

import hashlib
from pathlib import Path

import pytest

from worker.engine.snapshot_checksums import BadSnapshot, find_latest_valid, format_folder_name, write_checksums


def make_snapshot(parent: Path, epoch: int, step: int, phase: str = "end") -> Path:
    folder = parent / format_folder_name(epoch, step, phase)
    folder.mkdir()
    (folder / "weights").write_bytes(b"content")
    write_checksums(folder, {"weights": hashlib.sha256(b"content").hexdigest()})
    return folder


def test_latest_snapshot_comes_first_by_epoch_step_and_phase(tmp_path: Path) -> None:
    make_snapshot(tmp_path, 2, 10, "train")
    last = make_snapshot(tmp_path, 2, 10, "end")
    make_snapshot(tmp_path, 1, 5)
    assert find_latest_valid(tmp_path, print) == last


@pytest.mark.parametrize("content", [b"other", None])
def test_damaged_snapshot_is_skipped_with_a_warning(tmp_path: Path, content: bytes | None) -> None:
    earlier, last = make_snapshot(tmp_path, 1, 5), make_snapshot(tmp_path, 2, 10)
    if content is None:
        (last / "weights").unlink()
    else:
        (last / "weights").write_bytes(content)
    warnings: list[str] = []
    assert find_latest_valid(last, warnings.append) == earlier
    assert last.name in warnings[0]


def test_later_snapshots_are_not_candidates(tmp_path: Path) -> None:
    first, _ = make_snapshot(tmp_path, 1, 5), make_snapshot(tmp_path, 2, 10)
    (first / "weights").write_bytes(b"other")
    with pytest.raises(BadSnapshot, match="differs from its checksum"):
        find_latest_valid(first, lambda _: None)
