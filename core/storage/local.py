"""Files in a folder. It knows nothing of jobs, models and datasets."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from core.errors import Conflict, Corrupt, NotFound, NotReady, StorageFull

_SCRATCH = ".scratch"
_LOCK = ".lock"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalStorage:
    """A folder of published files, and beside them `.scratch` with one locked folder a process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.Lock()
        self._own: Path | None = None
        self._lock_fd = -1

    @classmethod
    def at(cls, path: str) -> Self:
        """The storage in that folder, which is made if absent."""
        root = Path(path)
        root.mkdir(parents=True, exist_ok=True)
        return cls(root.resolve())

    def publish(self, folder: Path, key: str) -> None:
        target = self._resolve(key)
        with _full_disk():
            staged = folder if _same_disk(folder, self._root) else self._copy(folder)
            for path in [*sorted(staged.rglob("*"), reverse=True), staged]:
                os.utime(path)  # `age_s` counts from here
                _fsync(path)
            try:
                _into(target, staged.rename)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise Conflict(f"{key!r} is taken.") from error
                raise
            _fsync(target.parent)
        if staged is not folder:
            shutil.rmtree(folder)

    def publish_file(self, path: Path, key: str) -> None:
        target = self._resolve(key)
        with _full_disk():
            staged = path if _same_disk(path, self._root) else self._copy(path)
            os.utime(staged)
            _fsync(staged)
            try:
                _into(target, lambda to: os.link(staged, to))  # fails if taken; a reader never sees half a file
            except FileExistsError as error:
                raise Conflict(f"{key!r} is taken.") from error
            _fsync(target.parent)
        for done in {staged, path}:
            done.unlink()

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        folder = self._resolve(key)
        for name, sha256 in files.items():
            path = folder / _checked(name)
            if not path.is_file():
                raise Corrupt(f"{key}/{name} is missing.", key=key, file=name)
            if sha256_of(path) != sha256:
                raise Corrupt(f"{key}/{name} is not what was stored.", key=key, file=name)
        return folder

    def path(self, key: str) -> Path:
        path = self._resolve(key)
        if not path.is_file():
            raise NotFound(f"There is no file {key!r}.")
        return path

    def delete(self, key: str) -> None:
        path = self._resolve(key)
        if path.is_dir():
            doomed = self.scratch() / "deleted"  # first out of sight, so that a reader sees all or nothing
            try:
                path.rename(doomed)
            except FileNotFoundError:
                return
            shutil.rmtree(doomed.parent)
        else:
            path.unlink(missing_ok=True)
        self._prune(path.parent)

    def keys(self, prefix: str) -> Iterator[str]:
        folder = self._resolve(prefix) if prefix else self._root
        for path in sorted(folder.rglob("*")):
            key = path.relative_to(self._root)
            if key.parts[0] != _SCRATCH and path.is_file():
                yield key.as_posix()

    def age_s(self, key: str) -> float:
        return time.time() - self.path(key).stat().st_mtime

    def check(self) -> None:
        try:
            folder = self.scratch()
            (folder / "probe").write_bytes(b"written")
            shutil.rmtree(folder)
        except OSError as error:
            raise NotReady(f"The storage {self._root} cannot be written: {error.strerror}.") from error

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._root).free

    def scratch(self) -> Path:
        with self._mutex, _full_disk():
            if self._own is None:
                self._own = self._lock_own()
            return Path(tempfile.mkdtemp(dir=self._own))

    def sweep_scratch(self) -> None:
        for folder in (self._root / _SCRATCH).glob("*"):
            if folder != self._own and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete this process's scratch folders."""
        with self._mutex:
            if self._own is not None:
                shutil.rmtree(self._own, ignore_errors=True)
                os.close(self._lock_fd)
                self._own = None

    def _lock_own(self) -> Path:
        # The lock is the kernel's: it is free as soon as this process is gone, however it went. The folder
        # appears under its final name only when it is locked, else a sweep could take it for abandoned.
        (self._root / _SCRATCH).mkdir(exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        self._lock_fd = os.open(new / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return new.rename(self._root / _SCRATCH / new.name.removeprefix(".new-"))

    def _resolve(self, key: str) -> Path:
        return self._root / _checked(key)

    def _copy(self, source: Path) -> Path:
        copy = self.scratch() / "copy"
        return Path(shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy))

    def _prune(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or somebody else was quicker
                return
            folder = folder.parent


def sha256_of(path: Path) -> str:
    """The hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(key: str) -> str:
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"{key!r} is no key")
    return key


def _into(target: Path, place: Callable[[Path], object]) -> None:
    """Place something at `target`, whose folder may be pruned as empty by another process at this moment."""
    for _ in range(10):
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            place(target)
            return
    place(target)


def _same_disk(path: Path, root: Path) -> bool:
    return path.stat().st_dev == root.stat().st_dev


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The storage has no space left.") from error
        raise
