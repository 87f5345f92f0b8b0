"""Defines the protocol of file storages.

Files and folders are stored under keys: relative paths such as `jobs/…/bundle`. Published files never change. All
methods of a remote storage raise Unavailable if the storage does not respond after several attempts.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    def publish(self, folder: Path, key: str) -> None:
        """Store a local folder under `key` atomically, and delete the local folder.

        Raises:
            Conflict: the key already exists.
            StorageFull: the storage is full; no file is stored under the key.
        """

    def publish_file(self, path: Path, key: str) -> None:
        """Store a local file as `key` atomically, and delete the local file. Raise the same errors as `publish`."""

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        """Verify files of the folder at `key`, and return a local folder that contains them.

        `files` maps file names to their sha256. The caller must open the files within ten minutes, because the cache of
        a remote storage can delete them later.

        Raises:
            CorruptFile: a file is missing or its sha256 differs; `extra` has the fields `key` and `file`.
            StorageFull: the local disk is full.
        """

    def fetch_file(self, key: str) -> Path:
        """Return the local path of a file. If the sha256 is known, use `fetch` instead, which verifies it.

        Raises:
            NotFound: the file does not exist.
        """

    def delete(self, key: str) -> None:
        """Delete the file or folder at `key`, if it exists."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """List the keys of all files under a folder, including files that were not completely published.

        The keys are sorted, so that the files of a folder follow each other.
        """

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """List the keys and the sizes in bytes of all files under a folder, in any order.

        Scratch files and files of the storage itself are included, with the path at which they are stored as the key.
        """

    def get_age_s(self, key: str) -> float:
        """Return the number of seconds since a file was stored."""

    def check_writable(self) -> None:
        """Check that files can be written.

        Raises:
            NotReady: files cannot be written; `detail` contains the reason.
        """

    def get_free_bytes(self) -> int:
        """Return the free disk space for scratch folders on this machine, in bytes."""

    def create_scratch_folder(self) -> Path:
        """Create an empty folder on the disk of the storage, so that publishing is fast. The caller deletes it."""

    def delete_abandoned_scratch(self) -> None:
        """Delete the scratch folders of ended processes of this machine."""

    def close(self) -> None:
        """Delete this process's scratch folders."""
