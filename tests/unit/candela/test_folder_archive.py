"""Writing a folder to a zip file."""

import os
import zipfile
from pathlib import Path

import pytest

from candela.errors import CandelaError
from candela.folder_archive import SkippedEntry, format_skipped, list_entries, zip_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pets/cat").mkdir(parents=True)
    (tmp_path / "pets/cat/1.png").write_bytes(b"1")
    return tmp_path / "pets"


def test_files_behind_links_are_stored(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache/.dvc").mkdir(parents=True)
    (tmp_path / "cache/.dvc/2f").write_bytes(b"2")
    (folder / "dog").symlink_to(tmp_path / "cache/.dvc")
    (folder / "cat/2.png").symlink_to(tmp_path / "cache/.dvc/2f")
    (folder / "cat/3.png").symlink_to("1.png")
    archive = zip_folder(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(archive.path) as opened:
        contents = {name: opened.read(name) for name in opened.namelist()}
    assert contents == {"cat/1.png": b"1", "cat/2.png": b"2", "cat/3.png": b"1", "dog/2f": b"2"}
    assert (archive.num_files, archive.skipped) == (4, ())


def test_the_same_folder_can_be_linked_twice(folder: Path, tmp_path: Path) -> None:
    (folder / "dog").symlink_to("cat")
    assert zip_folder(folder, tmp_path / "a.zip").num_files == 2


def test_loops_and_links_out_of_reach_are_counted(folder: Path, tmp_path: Path) -> None:
    (folder / "cat/up").symlink_to("..")
    (folder / "self").symlink_to("self")
    (folder / "cat/gone.png").symlink_to("/nonexistent/1.png")
    os.mkfifo(folder / "pipe")
    archive = zip_folder(folder, tmp_path / "a.zip")
    reasons = {entry.name: entry.reason for entry in archive.skipped}
    assert archive.num_files == 1
    assert reasons == {
        "cat/up": "link to a folder that contains it",
        "self": "link cannot be followed: Too many levels of symbolic links",
        "cat/gone.png": "link cannot be followed: No such file or directory",
        "pipe": "is not a regular file",
    }


def test_hidden_files_are_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/x").write_bytes(b"")
    (folder / "cat/.DS_Store").write_bytes(b"")
    assert zip_folder(folder, tmp_path / "a.zip").num_files == 1


def test_a_folder_of_broken_links_is_an_error_that_counts_them(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/1.png").symlink_to("/nonexistent")
    with pytest.raises(CandelaError, match=r"no files to upload: 1 skipped: 1\.png"):
        zip_folder(tmp_path / "pets", tmp_path / "a.zip")


def test_skipped_entries_are_grouped_by_reason() -> None:
    skipped = [SkippedEntry(f"{number}.png", "broken") for number in range(5)] + [SkippedEntry("x", "loop")]
    assert format_skipped(skipped) == "5 skipped: 0.png, 1.png, 2.png, … (broken); 1 skipped: x (loop)"
    assert format_skipped([], ": ") == ""


def test_equal_folders_have_equal_bytes(folder: Path, tmp_path: Path) -> None:
    (folder / "dog").mkdir()
    (folder / "dog/1.png").write_bytes(b"12")
    first = zip_folder(folder, tmp_path / "a.zip").path.read_bytes()
    for file in folder.rglob("*.png"):
        os.utime(file, (1, 1))
        file.chmod(0o600)
    assert zip_folder(folder, tmp_path / "b.zip").path.read_bytes() == first
    entries = list_entries(tmp_path / "a.zip")
    assert [(name, size) for name, size, _ in entries] == [("cat/1.png", 1), ("dog/1.png", 2)]
    (folder / "dog/1.png").write_bytes(b"13")
    zip_folder(folder, tmp_path / "b.zip")
    assert list_entries(tmp_path / "b.zip") != entries
