"""The umask of the service, and the access to files of older versions."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.file_permissions import apply_umask, parse_umask, restrict_home


@pytest.fixture(autouse=True)
def wide_umask() -> Iterator[None]:
    """The umask of most users, under which files are readable by everyone."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """A home folder with the modes of an older version."""
    home = tmp_path / "home"
    (home / "store" / "jobs").mkdir(parents=True)
    for name in ("candela.db", "store/jobs/file", "notes.txt"):
        (home / name).write_text("x")
    (home / "store" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("x")
    return home


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("text", "umask"), [("077", 0o077), ("0077", 0o077), ("27", 0o027), ("007", 0o007)])
def test_an_octal_umask_is_parsed(text: str, umask: int) -> None:
    assert parse_umask(text) == umask


@pytest.mark.parametrize("text", ["", "7", "088", "177", "0o77", "-77", "77 ", "10077"])
def test_another_umask_is_rejected(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"CANDELA_UMASK=.* must be an octal number from 000 to 077"):
        parse_umask(text)


def test_new_files_are_private(tmp_path: Path) -> None:
    apply_umask("077")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    assert [get_mode(tmp_path / name) for name in ("folder", "file")] == [0o700, 0o600]


def test_a_home_of_an_older_version_is_restricted(old_home: Path) -> None:
    assert restrict_home(old_home, 0o077)
    modes = {path: get_mode(path) for path in (old_home, *old_home.rglob("*"))}
    assert modes[old_home] == 0o700
    assert modes[old_home / "store" / "jobs"] == 0o700
    assert modes[old_home / "candela.db"] == modes[old_home / "store" / "jobs" / "file"] == 0o600
    assert not restrict_home(old_home, 0o077)


def test_files_of_others_in_the_home_and_targets_of_links_keep_their_modes(old_home: Path) -> None:
    restrict_home(old_home, 0o077)
    assert get_mode(old_home / "notes.txt") == 0o644
    assert get_mode(old_home.parent / "outside") == 0o644


def test_an_umask_of_027_keeps_the_access_of_the_group(old_home: Path) -> None:
    restrict_home(old_home, 0o027)
    assert (get_mode(old_home), get_mode(old_home / "candela.db")) == (0o750, 0o640)
