"""Where HTTP processes of one machine meet: one of them owns the process with the networks, the others join it."""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

HELLO = b"candela"


class LeaderLock:
    """A socket and a lock in a folder that only the service's own user can enter.

    Whoever holds the lock owns the process; the kernel gives it back whichever way its holder ends.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.path = folder / f"{device}.sock"
        self._lock = folder / f"{device}.lock"
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Become the owner, if nobody is."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let another one own it; does nothing for who does not."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def connect(self, arena_fd: int) -> socket.socket | None:
        """A connection, on which the memory of pixels was sent; None where nobody listens just now."""
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return connect(self.path, arena_fd)
        return None


def listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path, arena_fd: int) -> socket.socket:
    """A connection to whoever listens there, who is sent the memory that both will see."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
        socket.send_fds(sock, [HELLO], [arena_fd])
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
