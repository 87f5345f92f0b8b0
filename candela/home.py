"""The folder of an embedded service: who may use it, and where its parts meet."""

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

MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107; the server adds nothing, but leave room
DYING_S = 15.0


class Home:
    """A home folder, held by one `candela up` at a time.

    The locks are held on the folders themselves, by the kernel: nothing is left over whichever way a process ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self._fds: list[int] = []

    def acquire(self, is_interrupted: Callable[[], bool] = lambda: False) -> int:
        """Take the home; returns a descriptor that every part inherits and thereby holds too.

        Raises:
            CandelaError: it is in use, or no folder can be made there.
        """
        try:
            self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            own, shared = os.open(self.path, os.O_RDONLY), os.open(self.run, os.O_RDONLY)
        except OSError as error:
            raise CandelaError(f"{self.path} cannot be used as a home: {error.strerror}") from error
        self._fds = [own, shared]
        if not _lock(own):
            self.release()
            raise CandelaError(f"{self.path} is in use by another `candela up`{self._who()}")
        # A service that was killed leaves parts which the kernel is about to end; two brokers must not share a file.
        deadline = time.monotonic() + DYING_S
        while not _lock(shared):
            if time.monotonic() > deadline or is_interrupted():
                self.release()
                raise CandelaError(f"{self.path} still has processes of an earlier `candela up`{self._who()}")
            time.sleep(0.05)
        return shared

    def release(self) -> None:
        """Give the home back. Descriptors are closed; the locks go with the last of them."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def announce(self, url: str) -> None:
        """Leave word of who is here, for the message that a second start shows."""
        (self.run / "up.json").write_text(json.dumps({"pid": os.getpid(), "url": url}))

    def withdraw(self) -> None:
        (self.run / "up.json").unlink(missing_ok=True)

    def socket_path(self) -> Path:
        """Where the private broker listens: under the home, or in a private short folder if that path is too long."""
        usual = self.run / "valkey.sock"
        if _fits(usual):
            return usual
        name = f"candela-{os.getuid()}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - private below
            folder = Path(parent or "/nonexistent") / name
            if _fits(folder / "v.sock") and _make_private(folder):
                return folder / "v.sock"
        raise CandelaError(f"{self.path} is too deep for a socket, and no private short folder could be made")

    def meeting(self) -> Path:
        """A fresh private folder, of a short path, where several HTTP processes meet."""
        folder = self.socket_path().parent / "http"
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

    def _who(self) -> str:
        try:
            known = json.loads((self.run / "up.json").read_text())
            return f" (process {known['pid']}, {known['url']})"
        except (OSError, ValueError, KeyError):
            return ""


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fits(path: Path) -> bool:
    # It travels in a URL as well: only characters that need no quoting there.
    plain = re.fullmatch(r"[A-Za-z0-9._/-]+", str(path)) is not None
    return plain and len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def _make_private(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    # Others may write beside it: a link or a folder of theirs under this name is not ours to trust.
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700
