"""The protocol of storages. A key is a relative path such as `jobs/…/bundle`; published files never change.

Methods of a remote storage raise Unavailable if it does not respond after several attempts.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    def publish(self, folder: Path, key: str) -> None:
        """Store a local folder under `key` atomically, and delete the local folder.

        Raises:
            Conflict: the key exists.
            StorageFull: the storage is full; nothing is stored under the key.
        """

    def publish_file(self, path: Path, key: str) -> None:
        """Store a local file as `key` atomically, and delete the local file. Raises the errors of `publish`."""

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        """Return a local folder with these verified files (name: sha256). Open them within ten minutes.

        Raises:
            CorruptFile: a file is missing or has another sha256; `extra` has its `key` and `file`.
            StorageFull: the local disk is full.
        """

    def fetch_file(self, key: str) -> Path:
        """Return the local path of a file whose sha256 is not known to the caller; otherwise use `fetch`.

        Raises:
            NotFound: the file does not exist.
        """

    def delete(self, key: str) -> None:
        """Delete the file or folder at `key`, if it exists."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """List the keys of all files under a folder, including files that were not completely published."""

    def get_age_s(self, key: str) -> float:
        """Return the seconds since a file was stored."""

    def check_writable(self) -> None:
        """Check that files can be written.

        Raises:
            NotReady: files cannot be written; the detail has the reason.
        """

    def get_free_bytes(self) -> int:
        """Return the free space for scratch folders on this machine."""

    def create_scratch_folder(self) -> Path:
        """Create an empty folder on the disk of the storage, so that publishing is fast. The caller deletes it."""

    def delete_abandoned_scratch(self) -> None:
        """Delete the scratch folders of ended processes of this machine."""

    def close(self) -> None:
        """Delete this process's scratch folders."""
