"""A home belongs to one service at a time, whichever way the last one ended."""

import os
from pathlib import Path

import pytest

from candela.errors import CandelaError
from candela.home import MAX_SOCKET_PATH_BYTES, Home


def test_a_home_in_use_is_refused_with_who_uses_it(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.acquire()
    first.announce("http://127.0.0.1:8000")
    with pytest.raises(CandelaError, match=rf"in use .*process {os.getpid()}, http://127.0.0.1:8000"):
        second.acquire()
    first.withdraw()
    first.release()
    second.acquire()
    second.release()


def test_a_part_that_lives_on_keeps_the_home(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    inherited = os.dup(first.acquire())
    first.release()
    with pytest.raises(CandelaError, match="still has processes"):
        second.acquire(is_interrupted=lambda: True)
    os.close(inherited)
    second.acquire()
    second.release()


def test_the_private_folder_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    home.acquire()
    assert home.run.stat().st_mode & 0o777 == 0o700
    home.release()


def test_a_home_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CandelaError, match="cannot be used as a home: Not a directory"):
        Home(tmp_path / "file" / "home").acquire()


@pytest.mark.parametrize("name", ["d" * 120, "white space", "ünicode"])
def test_a_path_unfit_for_a_socket_gets_a_short_private_folder(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    path = home.socket_path()
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path == Home(tmp_path / name).socket_path()  # found again after a kill
    assert path != Home(tmp_path / (name + "2")).socket_path()
    home.remove_socket(path)
    Home(tmp_path / (name + "2")).remove_socket(Home(tmp_path / (name + "2")).socket_path())
    assert not path.parent.exists()


def test_a_short_path_is_under_the_home() -> None:
    assert Home(Path("/srv/candela")).socket_path() == Path("/srv/candela/run/valkey.sock")


def test_a_folder_that_others_can_enter_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / ("d" * 120))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    usual = home.socket_path()
    usual.parent.chmod(0o755)
    with pytest.raises(CandelaError, match="too deep"):
        home.socket_path()
    usual.parent.rmdir()


@pytest.mark.parametrize("name", ["home", "deep" * 40])
def test_a_meeting_place_is_fresh_and_private(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.run.mkdir(parents=True)
    (home.meeting() / "unloaded").mkdir()
    folder = home.meeting()
    assert sorted(path.name for path in folder.iterdir()) == ["metrics"]
    assert folder.stat().st_mode & 0o077 == 0
    home.remove_socket(home.socket_path())
    assert not folder.exists()
