"""Elects a leader among the API processes of a machine.

The leader starts the inference process. The other API processes connect to the inference process.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

HANDSHAKE = b"candela"


class LeaderLock:
    """A lock file and a socket in a private folder. The API process that holds the lock starts the inference process.

    The kernel releases the lock when its holder ends for any reason.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.path = folder / f"{device}.sock"
        self._lock_path = folder / f"{device}.lock"
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free. Return True if it was acquired."""
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Release the lock, if this process holds it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def connect(self, memory_fd: int) -> socket.socket | None:
        """Connect to the inference process and send it the shared memory. Return None if no process listens."""
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return connect_unix(self.path, memory_fd)
        return None


def listen_unix(path: Path) -> socket.socket:
    """Return a Unix socket that listens at `path`."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def connect_unix(path: Path, memory_fd: int) -> socket.socket:
    """Connect to the Unix socket at `path`, send the descriptor of the shared memory, and return the connection."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
        socket.send_fds(sock, [HANDSHAKE], [memory_fd])
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
