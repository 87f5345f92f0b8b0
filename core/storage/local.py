"""Implements the storage protocol for a local folder."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from core.durable_files import fsync_path
from core.errors import Conflict, CorruptFile, NotFound, NotReady
from core.storage.files import compute_sha256, translate_disk_errors, validate_key
from core.storage.scratch import FOLDER as SCRATCH
from core.storage.scratch import Scratch


class LocalStorage:
    """Stores published files in a folder. Scratch folders are in its subfolder `.scratch`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._scratch = Scratch(root)

    @classmethod
    def open_folder(cls, path: str) -> Self:
        """Open the storage in a folder, which is created if missing."""
        root = Path(path)
        root.mkdir(parents=True, exist_ok=True)
        return cls(root.resolve())

    def publish(self, folder: Path, key: str) -> None:
        target = self._resolve_key(key)
        with translate_disk_errors(), self._stage(folder) as staged:
            for path in [*sorted(staged.rglob("*"), reverse=True), staged]:
                os.utime(path)  # `get_age_s` computes the age from this modification time
                fsync_path(path)
            try:
                _place_in_folder(target, staged.rename)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise Conflict(f"The storage key {key!r} already exists.") from error
                raise
            fsync_path(target.parent)
        shutil.rmtree(folder, ignore_errors=True)

    def publish_file(self, path: Path, key: str) -> None:
        target = self._resolve_key(key)
        with translate_disk_errors(), self._stage(path) as staged:
            os.utime(staged)
            fsync_path(staged)
            try:
                _place_in_folder(
                    target, lambda to: os.link(staged, to)
                )  # os.link fails if the target exists, and readers never see a partial file
            except FileExistsError as error:
                raise Conflict(f"The storage key {key!r} already exists.") from error
            fsync_path(target.parent)
        path.unlink()

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        folder = self._resolve_key(key)
        with translate_disk_errors():
            for name, sha256 in files.items():
                path = folder / validate_key(name)
                if not path.is_file():
                    raise CorruptFile(f"{key}/{name} is missing.", key=key, file=name)
                if compute_sha256(path) != sha256:
                    raise CorruptFile(f"The sha256 of {key}/{name} does not match.", key=key, file=name)
        return folder

    def fetch_file(self, key: str) -> Path:
        path = self._resolve_key(key)
        if not path.is_file():
            raise NotFound(f"File {key!r} does not exist.")
        return path

    def delete(self, key: str) -> None:
        path = self._resolve_key(key)
        if path.is_dir():
            removed = self.create_scratch_folder() / "deleted"  # renamed atomically: readers see all files or none
            try:
                path.rename(removed)
            except FileNotFoundError:
                return
            shutil.rmtree(removed.parent)
        else:
            path.unlink(missing_ok=True)
        self._prune_empty_folders(path.parent)

    def list_keys(self, prefix: str) -> Iterator[str]:
        folder = self._resolve_key(prefix) if prefix else self._root
        for path in sorted(folder.rglob("*")):
            key = path.relative_to(self._root)
            if key.parts[0] != SCRATCH and path.is_file():
                yield key.as_posix()

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        for parent, _, names in os.walk(self._resolve_key(prefix) if prefix else self._root):
            for name in names:
                path = Path(parent, name)
                with suppress(FileNotFoundError):  # deleted meanwhile
                    yield path.relative_to(self._root).as_posix(), path.lstat().st_size

    def get_age_s(self, key: str) -> float:
        return time.time() - self.fetch_file(key).stat().st_mtime

    def check_writable(self) -> None:
        try:
            folder = self.create_scratch_folder()
            (folder / "probe").write_bytes(b"written")
            shutil.rmtree(folder)
        except OSError as error:
            raise NotReady(f"The storage {self._root} cannot be written: {error.strerror}.") from error

    def get_free_bytes(self) -> int:
        return shutil.disk_usage(self._root).free

    def create_scratch_folder(self) -> Path:
        return self._scratch.create_folder()

    def delete_abandoned_scratch(self) -> None:
        self._scratch.delete_abandoned_folders()

    def close(self) -> None:
        """Delete this process's scratch folders."""
        self._scratch.close()

    def _resolve_key(self, key: str) -> Path:
        return self._root / validate_key(key)

    @contextmanager
    def _stage(self, source: Path) -> Iterator[Path]:
        """Yield the source, or a temporary copy if the source is on a different disk: renames require the same disk."""
        if source.stat().st_dev == self._root.stat().st_dev:
            yield source
            return
        folder = self.create_scratch_folder()
        try:
            copy = folder / "copy"
            yield Path(shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy))
        finally:
            shutil.rmtree(folder)

    def _prune_empty_folders(self, folder: Path) -> None:
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or deleted by another process
                return
            folder = folder.parent


def _place_in_folder(target: Path, action: Callable[[Path], object]) -> None:
    """Create the parent folder of `target` and run `action(target)`. Retry if a process deletes the empty folder."""
    for _ in range(10):
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            action(target)
            return
    action(target)
