"""One process at a time holds the lock, and the others connect to its inference process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from app.serving.leader_lock import HANDSHAKE, LeaderLock, listen_unix

OWNER = "import sys; from pathlib import Path; from app.serving.leader_lock import LeaderLock\n"
OWNER += "assert LeaderLock(Path(sys.argv[1]), 'cpu').try_acquire(); print('mine', flush=True); sys.stdin.read()"


def test_one_process_holds_the_lock_until_it_releases_it(tmp_path: Path) -> None:
    first, second = LeaderLock(tmp_path, "cpu"), LeaderLock(tmp_path, "cpu")
    assert first.try_acquire()
    assert not second.try_acquire()
    assert LeaderLock(tmp_path, "cuda:1").try_acquire()
    second.release()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        assert not LeaderLock(tmp_path, "cpu").try_acquire()
        owner.kill()
    assert LeaderLock(tmp_path, "cpu").try_acquire()


def test_a_connection_sends_its_shared_memory(tmp_path: Path) -> None:
    lock = LeaderLock(tmp_path, "cpu")
    memory = os.memfd_create("test")
    assert lock.connect(memory) is None
    with listen_unix(lock.path) as listener:
        connection = lock.connect(memory)
        assert connection is not None
        accepted, _ = listener.accept()
        handshake, (fd,), _, _ = socket.recv_fds(accepted, 16, 1)
        assert handshake == HANDSHAKE
        assert os.fstat(fd).st_ino == os.fstat(memory).st_ino
        for descriptor in (memory, fd):
            os.close(descriptor)
        accepted.close()
        connection.close()
    assert lock.path.exists()
    assert lock.connect(0) is None  # the socket of an owner that has ended
