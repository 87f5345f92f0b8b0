"""Manages scratch folders for incomplete files.

Each process holds a lock on its folder. An unlocked folder belongs to a process that has ended without deleting it.
"""

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
    """The scratch folders of this process, in `.scratch` of a storage folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.Lock()
        self._folder: Path | None = None
        self._lock_fd = -1

    def create_folder(self) -> Path:
        """Create an empty scratch folder. The caller deletes it."""
        with self._mutex, translate_disk_errors():
            if self._folder is None:
                self._folder = self._create_locked_folder()
            return Path(tempfile.mkdtemp(dir=self._folder))

    def delete_abandoned_folders(self) -> None:
        """Delete the scratch folders that are not locked, because their processes have ended."""
        for folder in (self._root / FOLDER).glob("*"):
            if folder != self._folder and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete the scratch folders of this process."""
        with self._mutex:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                os.close(self._lock_fd)
                self._folder = None

    def _create_locked_folder(self) -> Path:
        # The kernel releases the lock when the process ends for any reason. The folder gets its final name after it
        # is locked, so that `delete_abandoned_folders` never sees an unlocked folder of a running process.
        (self._root / FOLDER).mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        self._lock_fd = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return new.rename(self._root / FOLDER / new.name.removeprefix(".new-"))


def _is_abandoned(folder: Path) -> bool:
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:  # the process that created the folder is deleting it
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
