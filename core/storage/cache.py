"""Caches downloaded files in a local folder that several processes share. Verifies file hashes before each use."""

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from core.errors import CorruptFile, StorageFull
from core.storage.files import DISK_FULL_ERRNOS, compute_sha256, validate_key

log = structlog.get_logger(__name__)
Download = Callable[[str, Path], None]
"""A function that downloads the file with the given name to the given path."""

_LOCKS = ".locks"
_UNFINISHED = ".part-"
# Folders used in the last 10 minutes are not evicted, so that callers have time to open the files. A file that is
# deleted after it was opened can still be read.
_IN_USE_S = 600.0


class Cache:
    """A cache with LRU eviction and one folder per set of files.

    The name of a folder is a hash of the names and hashes of its files. Folders that were used in the last ten minutes
    are not evicted, even if the cache is larger than `max_bytes`.
    """

    def __init__(self, root: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._root, self._max_bytes, self._clock = root, max_bytes, clock
        (root / _LOCKS).mkdir(parents=True, exist_ok=True)

    def get_folder(self, files: Mapping[str, str], download: Download) -> Path:
        """Return the folder with `files` ({name: sha256}). Download missing or damaged files.

        If a different thread or process is already downloading the same files, wait until it has finished.

        Raises:
            CorruptFile: the sha256 of a downloaded file differs.
            StorageFull: the local disk is full.
        """
        entry = self._root / _compute_entry_name(files)
        with self._lock(entry.name):
            if not self._is_valid(entry, files):
                self._download_or_evict(entry, files, download)
            self._touch(entry)
        self._evict_to_size(self._max_bytes)
        return entry

    def delete_partial_entries(self) -> None:
        """Delete incomplete downloads of processes that have ended."""
        for part in self._root.glob(f"{_UNFINISHED}*"):
            with self._lock(part.name.removeprefix(_UNFINISHED), wait=False) as is_locked:
                if is_locked:
                    shutil.rmtree(part, ignore_errors=True)

    def _is_valid(self, entry: Path, files: Mapping[str, str]) -> bool:
        if not entry.is_dir():
            return False
        self._touch(entry)
        with suppress(FileNotFoundError):
            if all(compute_sha256(entry / name) == sha256 for name, sha256 in files.items()):
                return True
        log.warning("cache.entry_rejected", entry=entry.name)
        shutil.rmtree(entry)
        return False

    def _download_or_evict(self, entry: Path, files: Mapping[str, str], download: Download) -> None:
        try:
            self._download(entry, files, download)
        except OSError as error:
            if error.errno not in DISK_FULL_ERRNOS:
                raise
            self._evict_to_size(0)
            try:
                self._download(entry, files, download)
            except OSError as again:
                if again.errno not in DISK_FULL_ERRNOS:
                    raise
                raise StorageFull("The local disk has no space left for a download from the storage.") from again

    def _download(self, entry: Path, files: Mapping[str, str], download: Download) -> None:
        part = self._root / f"{_UNFINISHED}{entry.name}"  # written only by the process that has locked the entry
        shutil.rmtree(part, ignore_errors=True)
        try:
            for name, sha256 in files.items():
                path = part / name
                path.parent.mkdir(parents=True, exist_ok=True)
                download(name, path)
                if compute_sha256(path) != sha256:
                    raise CorruptFile(f"The sha256 of {name} does not match.", file=name)
            part.mkdir(parents=True, exist_ok=True)
            part.rename(entry)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _touch(self, entry: Path) -> None:
        os.utime(entry, (self._clock(), self._clock()))

    def _evict_to_size(self, max_bytes: int) -> None:
        """Delete the least recently used entries until the cache has at most `max_bytes`."""
        entries = sorted((used, size, entry) for entry in self._list_entries() for used, size in _read_usage(entry))
        total = sum(size for _, size, _ in entries)
        for _, size, entry in entries:
            if total <= max_bytes:
                return
            if self._evict(entry):
                total -= size

    def _list_entries(self) -> list[Path]:
        return [entry for entry in self._root.iterdir() if not entry.name.startswith(".")]

    def _evict(self, entry: Path) -> bool:
        with self._lock(entry.name, wait=False) as is_locked, suppress(FileNotFoundError):
            if not is_locked or self._clock() - entry.stat().st_mtime < _IN_USE_S:
                return False
            gone = entry.rename(self._root / f"{_UNFINISHED}{entry.name}-{uuid.uuid4().hex}")
            shutil.rmtree(gone, ignore_errors=True)
            log.info("cache.evicted", entry=entry.name)
        return True

    @contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Lock an entry. Yield False if `wait` is false and the lock is not free.

        The kernel releases the lock when the process ends. All entries share 256 lock files.
        """
        fd = os.open(self._root / _LOCKS / name[:2], os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)


def _compute_entry_name(files: Mapping[str, str]) -> str:
    lines = sorted(f"{sha256} {validate_key(name)}\n" for name, sha256 in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read_usage(entry: Path) -> Iterator[tuple[float, int]]:
    """Yield one pair (time of the last use, size in bytes), or no pair if the entry is being deleted."""
    with suppress(FileNotFoundError):
        yield entry.stat().st_mtime, sum(path.stat().st_size for path in entry.rglob("*"))
