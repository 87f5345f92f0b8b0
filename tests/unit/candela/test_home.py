"""One service at a time uses a home folder, however the last one ended."""

import os
from pathlib import Path

import pytest

from candela.errors import CandelaError
from candela.home import MAX_SOCKET_PATH_BYTES, Home


def test_home_in_use_is_rejected_with_its_owner(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.acquire()
    first.announce("http://127.0.0.1:8000")
    with pytest.raises(CandelaError, match=rf"in use .*process {os.getpid()}, http://127.0.0.1:8000"):
        second.acquire()
    first.withdraw()
    first.release()
    second.acquire()
    second.release()


def test_surviving_process_keeps_the_home_locked(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    inherited = os.dup(first.acquire())
    first.release()
    with pytest.raises(CandelaError, match="still has processes"):
        second.acquire(is_interrupted=lambda: True)
    os.close(inherited)
    second.acquire()
    second.release()


def test_private_folder_has_mode_0700(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    home.acquire()
    assert home.run.stat().st_mode & 0o777 == 0o700
    home.release()


def test_home_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CandelaError, match="cannot be used as the home folder: Not a directory"):
        Home(tmp_path / "file" / "home").acquire()


@pytest.mark.parametrize("name", ["d" * 120, "white space", "ünicode"])
def test_long_path_uses_a_private_folder_for_the_socket(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    path = home.choose_socket_path()
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path == Home(tmp_path / name).choose_socket_path()  # found again after a kill
    assert path != Home(tmp_path / (name + "2")).choose_socket_path()
    home.remove_socket(path)
    Home(tmp_path / (name + "2")).remove_socket(Home(tmp_path / (name + "2")).choose_socket_path())
    assert not path.parent.exists()


def test_short_path_keeps_the_socket_in_the_home() -> None:
    assert Home(Path("/srv/candela")).choose_socket_path() == Path("/srv/candela/run/valkey.sock")


def test_folder_accessible_to_others_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / ("d" * 120))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    usual = home.choose_socket_path()
    usual.parent.chmod(0o755)
    with pytest.raises(CandelaError, match="too long"):
        home.choose_socket_path()
    usual.parent.rmdir()


@pytest.mark.parametrize("name", ["home", "deep" * 40])
def test_rendezvous_dir_is_empty_and_private(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.run.mkdir(parents=True)
    (home.create_rendezvous_dir() / "unloaded").mkdir()
    folder = home.create_rendezvous_dir()
    assert sorted(path.name for path in folder.iterdir()) == ["metrics"]
    assert folder.stat().st_mode & 0o077 == 0
    home.remove_socket(home.choose_socket_path())
    assert not folder.exists()


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_home_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        home = Home(tmp_path / "new")
        home.acquire()
        home.announce("http://127.0.0.1:8000")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home.path, home.run, home.logs)}
    assert modes == {"new": 0o700, "run": 0o700, "logs": 0o700}
    assert home.restrict() is None
    home.release()


def test_home_of_an_older_version_is_restricted_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "home" / "candela.db").write_text("x")
    (tmp_path / "home").chmod(0o755)
    home = Home(tmp_path / "home")
    home.acquire()
    assert f"removed the access of other users to {home.path}" in (home.restrict() or "")
    assert (home.path / "candela.db").stat().st_mode & 0o077 == 0
    home.release()


def test_home_can_be_shared_with_the_group(tmp_path: Path) -> None:
    home = Home(tmp_path / "new", umask=0o027)
    home.acquire()
    assert home.path.stat().st_mode & 0o777 == 0o750
    assert home.restrict() is None
    home.release()


def test_folder_of_all_users_is_rejected(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(CandelaError, match="is shared by all users"):
        Home(tmp_path).acquire()
