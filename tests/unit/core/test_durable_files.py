"""Durable writes of local files."""

import os
from pathlib import Path

import pytest

from core.durable_files import fsync_path, write_new_file


@pytest.fixture
def flushed_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the path behind every flushed descriptor."""
    paths: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    return paths


def test_a_new_file_is_flushed(tmp_path: Path, flushed_paths: list[str]) -> None:
    path = tmp_path / "a"
    write_new_file(path, b"content")
    assert path.read_bytes() == b"content"
    assert flushed_paths == [str(path)]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_folder_is_flushed(tmp_path: Path, flushed_paths: list[str]) -> None:
    fsync_path(tmp_path)
    assert flushed_paths == [str(tmp_path)]
