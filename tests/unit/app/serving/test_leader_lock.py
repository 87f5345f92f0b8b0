"""One owner at a time, whichever way it ends; others join whoever listens."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from app.serving.leader_lock import HELLO, LeaderLock, listen_unix
from app.serving.unload_state import UnloadedFiles

OWNER = "import sys; from pathlib import Path; from app.serving.leader_lock import Meeting\n"
OWNER += "assert Meeting(Path(sys.argv[1]), 'cpu').take(); print('mine', flush=True); sys.stdin.read()"


def test_there_is_one_owner_until_it_lets_go(tmp_path: Path) -> None:
    first, second = LeaderLock(tmp_path, "cpu"), LeaderLock(tmp_path, "cpu")
    assert first.try_acquire()
    assert not second.try_acquire()
    assert LeaderLock(tmp_path, "cuda:1").try_acquire()
    second.release()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()


def test_an_owner_that_is_killed_owns_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        assert not LeaderLock(tmp_path, "cpu").try_acquire()
        owner.kill()
    assert LeaderLock(tmp_path, "cpu").try_acquire()


def test_whoever_joins_sends_its_memory_along(tmp_path: Path) -> None:
    meeting = LeaderLock(tmp_path, "cpu")
    memory = os.memfd_create("test")
    assert meeting.connect(memory) is None
    with listen_unix(meeting.path) as listener:
        joined = meeting.connect(memory)
        assert joined is not None
        heard, _ = listener.accept()
        hello, (fd,), _, _ = socket.recv_fds(heard, 16, 1)
        assert hello == HELLO
        assert os.fstat(fd).st_ino == os.fstat(memory).st_ino
        for descriptor in (memory, fd):
            os.close(descriptor)
        heard.close()
        joined.close()
    assert meeting.path.exists()
    assert meeting.connect(0) is None  # the socket of an owner that has ended


def test_what_one_process_unloads_is_unloaded_for_the_other(tmp_path: Path) -> None:
    one, other = UnloadedFiles(tmp_path / "unloaded"), UnloadedFiles(tmp_path / "unloaded")
    one.add("digits")
    assert "digits" in other
    assert "digits2" not in other
    other.discard("digits")
    other.discard("digits")
    assert "digits" not in one
