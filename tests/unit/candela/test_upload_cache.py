"""The cache of unfinished uploads."""

import os
import time
from pathlib import Path

import pytest

from candela.upload_cache import MAX_AGE_S, UploadCache, compute_fingerprint


def test_an_upload_is_found_by_its_fingerprint_until_it_is_forgotten(tmp_path: Path) -> None:
    UploadCache(tmp_path / "uploads").store("a", "/v1/uploads/1")
    cache = UploadCache(tmp_path / "uploads")
    assert (cache.find("a"), cache.find("b")) == ("/v1/uploads/1", None)
    cache.forget("a")
    cache.forget("a")
    assert cache.find("a") is None


def test_the_folder_is_private_and_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    UploadCache().store("a", "/v1/uploads/1")
    folder = tmp_path / "candela/uploads"
    assert [path.name for path in folder.iterdir()] == ["a.json"]
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "a.json").stat().st_mode & 0o077 == 0


def test_a_damaged_or_unwritable_cache_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = UploadCache(tmp_path / "file")
    cache.store("a", "/v1/uploads/1")
    assert cache.find("a") is None
    for text in ("", "[]", '{"other": 1}', "{"):
        (tmp_path / "b.json").write_text(text)
        assert UploadCache(tmp_path).find("b") is None


def test_old_uploads_are_forgotten(tmp_path: Path) -> None:
    cache = UploadCache(tmp_path)
    cache.store("a", "/v1/uploads/1")
    old = time.time() - MAX_AGE_S - 1
    os.utime(tmp_path / "a.json", (old, old))
    cache.store("b", "/v1/uploads/2")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_the_fingerprint_depends_on_every_part() -> None:
    first = compute_fingerprint("http://a", "pets", [], "/a.zip", 1, 2)
    assert first == compute_fingerprint("http://a", "pets", [], "/a.zip", 1, 2)
    others = {
        compute_fingerprint("http://b", "pets", [], "/a.zip", 1, 2),
        compute_fingerprint("http://a", "pets", [("target", "x")], "/a.zip", 1, 2),
        compute_fingerprint("http://a", "pets", [], "/a.zip", 1, 3),
    }
    assert len(others | {first}) == 4
