"""Implements the storage protocol for an S3 bucket.

A file published under `key` is the object `key/.set-…/name`. Each attempt to publish uploads its files to a new set.
The object `key/.manifest` contains the name of the valid set. The manifest is written last, and only if it does not
exist yet, so that publishing is atomic.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import Conflict, CorruptFile, NotFound, NotReady, Unavailable
from core.storage.bucket import Bucket
from core.storage.cache import Cache
from core.storage.files import compute_sha256, validate_key
from core.storage.scratch import Scratch

log = structlog.get_logger(__name__)
_MANIFEST, _SET = ".manifest", ".set-"
_SINGLE_FILE = "file"  # `publish_file` stores its file under this name in the set


class _StoredFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int


class _Manifest(BaseModel):
    """The manifest of a key: the name of the valid set and its files."""

    model_config = ConfigDict(frozen=True)

    format_version: int = 1
    set: str
    is_file: bool = False
    files: dict[str, _StoredFile]


class S3Storage:
    """Stores published files in a bucket. A local folder contains scratch folders and cached downloads."""

    def __init__(self, bucket: Bucket, folder: Path, max_cache_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._bucket, self._folder = bucket, folder.resolve()
        self._scratch = Scratch(self._folder)
        self._cache = Cache(self._folder, max_cache_bytes)

    def publish(self, folder: Path, key: str) -> None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        self._publish_files(key, {path.relative_to(folder).as_posix(): path for path in paths})
        shutil.rmtree(folder)

    def publish_file(self, path: Path, key: str) -> None:
        self._publish_files(key, {_SINGLE_FILE: path}, is_file=True)
        path.unlink()

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        validate_key(key)

        def download(name: str, path: Path) -> None:
            if (manifest := self._read_manifest(key)) is None or name not in manifest.files:
                raise CorruptFile("the object is missing", file=name)
            self._download_file(key, manifest, name, path)

        try:
            return self._cache.get_folder(files, download)
        except CorruptFile as error:
            name = error.extra["file"]
            raise CorruptFile(f"{key}/{name} cannot be used: {error.detail}", key=key, file=name) from error

    def fetch_file(self, key: str) -> Path:
        validate_key(key)
        for unit in _iterate_parent_keys(key):
            manifest = self._read_manifest(unit)
            if manifest is None:
                continue
            name = _SINGLE_FILE if unit == key else key.removeprefix(f"{unit}/")
            if name in manifest.files and manifest.is_file == (unit == key):
                return self.fetch(unit, {name: manifest.files[name].sha256}) / name
            break
        raise NotFound(f"File {key!r} does not exist.")

    def delete(self, key: str) -> None:
        objects = [found.path for found in self._bucket.list_objects(validate_key(key))]
        # Delete the manifests first, so that readers never find a partly deleted folder.
        self._bucket.delete([path for path in objects if path.endswith(f"/{_MANIFEST}")])
        self._bucket.delete([path for path in objects if not path.endswith(f"/{_MANIFEST}")])

    def list_keys(self, prefix: str) -> Iterator[str]:
        objects = self._bucket.list_objects(validate_key(prefix) if prefix else "")
        yield from sorted({key for found in objects if (key := _parse_key(found.path)) is not None})

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        for found in self._bucket.list_objects(validate_key(prefix) if prefix else ""):
            yield _parse_key(found.path) or found.path, found.size_bytes

    def get_age_s(self, key: str) -> float:
        for unit in _iterate_parent_keys(validate_key(key)):
            objects = list(self._bucket.list_objects(unit))
            times = [found.modified for found in objects if _parse_key(found.path) == key]
            if times:
                return (datetime.now(UTC) - max(times)).total_seconds()
            if objects:
                break
        raise NotFound(f"File {key!r} does not exist.")

    def check_writable(self) -> None:
        try:
            self._bucket.probe(f".probe-{uuid.uuid4().hex}")
            shutil.rmtree(self.create_scratch_folder())
        except (Unavailable, NotFound) as error:
            raise NotReady(error.detail) from error
        except OSError as error:
            raise NotReady(f"The folder {self._folder} cannot be written: {error.strerror}.") from error

    def get_free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def create_scratch_folder(self) -> Path:
        return self._scratch.create_folder()

    def delete_abandoned_scratch(self) -> None:
        self._scratch.delete_abandoned_folders()
        self._cache.delete_partial_entries()

    def close(self) -> None:
        """Delete this process's scratch folders."""
        self._scratch.close()

    def _publish_files(self, key: str, paths: Mapping[str, Path], *, is_file: bool = False) -> None:
        set_name = f"{_SET}{uuid.uuid4().hex}"
        set_prefix = f"{validate_key(key)}/{set_name}"
        try:
            for name, path in paths.items():
                self._bucket.put_file(f"{set_prefix}/{validate_key(name)}", path)
            files = {
                name: _StoredFile(sha256=compute_sha256(path), size_bytes=path.stat().st_size)
                for name, path in paths.items()
            }
        except BaseException:
            self._delete_set(set_prefix)
            raise
        # If _write_manifest raises, the manifest may still have been written, so the set is not deleted here.
        # Maintenance deletes unused sets.
        if not self._write_manifest(key, _Manifest(set=set_name, is_file=is_file, files=files)):
            self._delete_set(set_prefix)
            raise Conflict(f"The storage key {key!r} already exists.")

    def _write_manifest(self, key: str, manifest: _Manifest) -> bool:
        if self._bucket.put_if_absent(f"{key}/{_MANIFEST}", manifest.model_dump_json().encode()):
            return True
        existing = self._read_manifest(key)
        return (
            existing is not None and existing.set == manifest.set
        )  # true if the write succeeded but its response was lost

    def _delete_set(self, set_prefix: str) -> None:
        with suppress(Unavailable):  # maintenance deletes unused objects later
            self._bucket.delete([found.path for found in self._bucket.list_objects(set_prefix)])

    def _read_manifest(self, key: str) -> _Manifest | None:
        try:
            return _Manifest.model_validate_json(self._bucket.get(f"{key}/{_MANIFEST}"))
        except NotFound:
            return None
        except ValidationError as error:
            raise CorruptFile(f"the manifest of {key} is invalid", key=key, file=_MANIFEST) from error

    def _download_file(self, key: str, manifest: _Manifest, name: str, path: Path) -> None:
        try:
            self._bucket.get_file(f"{key}/{manifest.set}/{name}", path, manifest.files[name].size_bytes)
        except NotFound as error:
            raise CorruptFile("the object is missing", file=name) from error


def _iterate_parent_keys(key: str) -> Iterator[str]:
    """Iterate over the key and its parent folders, deepest first."""
    parts = key.split("/")
    return ("/".join(parts[:size]) for size in range(len(parts), 0, -1))


def _parse_key(path: str) -> str | None:
    """Return the key of the published file that an object contains. Return None for manifests and other objects."""
    unit, separator, rest = path.partition(f"/{_SET}")
    if not separator:
        return None
    name = rest.partition("/")[2]
    return unit if name == _SINGLE_FILE else f"{unit}/{name}"
