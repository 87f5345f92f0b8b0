"""Manages the home folder of an embedded service, including its locks and sockets."""

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

MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107
EXIT_TIMEOUT_S = 15.0


class Home:
    """A home folder that one `candela up` uses at a time.

    The folder is protected by kernel locks (flock), which are released when the processes that hold them exit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self._fds: list[int] = []

    def acquire(self, is_interrupted: Callable[[], bool] = lambda: False) -> int:
        """Lock the home folder. Return the descriptor of a second lock, which all component processes inherit.

        Raises:
            CandelaError: the folder is in use, or cannot be created.
        """
        try:
            self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            own, shared = os.open(self.path, os.O_RDONLY), os.open(self.run, os.O_RDONLY)
        except OSError as error:
            raise CandelaError(f"{self.path} cannot be used as the home folder: {error.strerror}") from error
        self._fds = [own, shared]
        if not _try_lock(own):
            self.release()
            raise CandelaError(f"{self.path} is in use by another `candela up`{self._describe_owner()}")
        # Processes of a killed service may still be exiting. Two brokers must not use the same file.
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        while not _try_lock(shared):
            if time.monotonic() > deadline or is_interrupted():
                self.release()
                raise CandelaError(
                    f"{self.path} still has processes of an earlier `candela up`{self._describe_owner()}"
                )
            time.sleep(0.05)
        return shared

    def release(self) -> None:
        """Close the descriptors of the locks. A lock is released when the last process closes its descriptor."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def announce(self, url: str) -> None:
        """Write the process id and URL. The error message of a second `candela up` shows them."""
        (self.run / "up.json").write_text(json.dumps({"pid": os.getpid(), "url": url}))

    def withdraw(self) -> None:
        (self.run / "up.json").unlink(missing_ok=True)

    def choose_socket_path(self) -> Path:
        """Return the socket path of the private broker. It is outside the home folder if that path is too long."""
        default = self.run / "valkey.sock"
        if _is_usable_socket_path(default):
            return default
        name = f"candela-{os.getuid()}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - in a private folder
            folder = Path(parent or "/nonexistent") / name
            if _is_usable_socket_path(folder / "v.sock") and _make_private(folder):
                return folder / "v.sock"
        raise CandelaError(f"{self.path} is too long for a socket path, and no private folder could be created")

    def create_rendezvous_dir(self) -> Path:
        """Create an empty private folder with a short path, for sockets and metrics that API processes share."""
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
    # Other users may write to the parent folder, so reject symbolic links and folders that they created.
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) == 0o700
