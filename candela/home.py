"""Manages the home folder of an embedded service, with its locks and sockets."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from candela.errors import CandelaError
from core.file_permissions import restrict_home

MAX_SOCKET_PATH_BYTES = 100  # a little less than the 107 bytes that Linux allows
EXIT_TIMEOUT_S = 15.0


class Home:
    """A home folder, which only one `candela up` can use at a time.

    Two file locks (flock) protect the folder: `candela up` holds one, and its components inherit the other. The kernel
    releases a lock when all processes that hold it have exited.
    """

    def __init__(self, path: Path, umask: int = 0o077) -> None:
        """Take the folder and the access that new files and folders deny to other users."""
        self.path = path.absolute()
        self._umask = umask
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self._fds: list[int] = []

    def acquire(self, is_interrupted: Callable[[], bool] = lambda: False) -> int:
        """Acquire both locks of the folder. Return the descriptor of the second lock, which all components inherit.

        Raises:
            CandelaError: the folder is in use, is shared by all users, or cannot be created.
        """
        try:
            self.path.mkdir(mode=0o777 & ~self._umask, parents=True, exist_ok=True)
            if self.path.stat().st_mode & stat.S_ISVTX:
                raise CandelaError(f"{self.path} is shared by all users; choose another folder with --home")
            self.run.mkdir(mode=0o700, exist_ok=True)
            self.logs.mkdir(mode=0o777 & ~self._umask, exist_ok=True)
            own, shared = os.open(self.path, os.O_RDONLY), os.open(self.run, os.O_RDONLY)
        except OSError as error:
            raise CandelaError(f"{self.path} cannot be used as the home folder: {error.strerror}") from error
        self._fds = [own, shared]
        if not _try_lock(own):
            self.release()
            raise CandelaError(f"{self.path} is in use by another `candela up`{self._describe_owner()}")
        # Wait for processes of a killed service that are still exiting: two brokers must not use the same data file.
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        while not _try_lock(shared):
            if time.monotonic() > deadline or is_interrupted():
                self.release()
                raise CandelaError(
                    f"{self.path} still has processes of an earlier `candela up`{self._describe_owner()}"
                )
            time.sleep(0.05)
        return shared

    def restrict(self) -> str | None:
        """Remove the access of other users that an older version granted. Return a message if there was any."""
        try:
            is_changed = restrict_home(self.path, self._umask)
        except OSError as error:
            return f"other users can access {self.path}, and its mode cannot be changed: {error.strerror}"
        if not is_changed:
            return None
        return f"removed the access of other users to {self.path}; CANDELA_UMASK=027 keeps it for the group"

    def release(self) -> None:
        """Close the descriptors of the locks. A lock is released when the last process closes its descriptor."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def announce(self, url: str) -> None:
        """Write the process id and URL to a file, for the error message of a second `candela up`."""
        (self.run / "up.json").write_text(json.dumps({"pid": os.getpid(), "url": url}))

    def withdraw(self) -> None:
        (self.run / "up.json").unlink(missing_ok=True)

    def choose_socket_path(self) -> Path:
        """Return the path of the private broker's socket.

        If the path in the home folder is too long or has special characters, the socket is in another private folder.
        """
        default = self.run / "valkey.sock"
        if _is_usable_socket_path(default):
            return default
        name = f"candela-{os.getuid()}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - in a private folder
            folder = Path(parent or "/nonexistent") / name
            if _is_usable_socket_path(folder / "v.sock") and _make_private(folder):
                return folder / "v.sock"
        raise CandelaError(
            f"{self.path} cannot contain a socket, because its path is too long or has special characters, "
            "and no other private folder could be created"
        )

    def create_rendezvous_dir(self) -> Path:
        """Create an empty private folder for the sockets and metrics files of the API processes. Its path is short."""
        folder = self.choose_socket_path().parent / "http"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        (folder / "metrics").mkdir(mode=0o700)
        return folder

    def remove_socket(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        shutil.rmtree(path.parent / "http", ignore_errors=True)
        if path.parent != self.run:
            with suppress(OSError):
                path.parent.rmdir()

    def _describe_owner(self) -> str:
        try:
            owner = json.loads((self.run / "up.json").read_text())
            return f" (process {owner['pid']}, {owner['url']})"
        except (OSError, ValueError, KeyError):
            return ""


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_usable_socket_path(path: Path) -> bool:
    # The path is also part of a URL, so only characters that require no quoting are allowed.
    plain = re.fullmatch(r"[A-Za-z0-9._/-]+", str(path)) is not None
    return plain and len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def _make_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    # The parent folder may be writable for other users: reject symbolic links and folders of other users.
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) == 0o700
