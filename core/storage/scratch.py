"""Folders for what is not finished, one locked folder a process, so that those of the dead can be told and deleted."""

import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

from core.storage.files import translate_disk_errors

FOLDER = ".scratch"
_LOCK = ".lock"


class Scratch:
    """`.scratch` in a folder that exists."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.Lock()
        self._folder: Path | None = None
        self._lock_fd = -1

    def create_folder(self) -> Path:
        """A new empty folder; it is the caller's to delete."""
        with self._mutex, translate_disk_errors():
            if self._folder is None:
                self._folder = self._create_locked_folder()
            return Path(tempfile.mkdtemp(dir=self._folder))

    def delete_abandoned_folders(self) -> None:
        """Delete the folders of processes that are no more."""
        for folder in (self._root / FOLDER).glob("*"):
            if folder != self._folder and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete this process's folders."""
        with self._mutex:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                os.close(self._lock_fd)
                self._folder = None

    def _create_locked_folder(self) -> Path:
        # The lock is the kernel's: it is free as soon as this process is gone, however it went. The folder
        # appears under its final name only when it is locked, else a sweep could take it for abandoned.
        (self._root / FOLDER).mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        self._lock_fd = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return new.rename(self._root / FOLDER / new.name.removeprefix(".new-"))


def _is_abandoned(folder: Path) -> bool:
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:  # being deleted by its owner
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
