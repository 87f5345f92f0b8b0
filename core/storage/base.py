"""What every storage can do. A key is a relative path such as `jobs/…/bundle`; what is published never changes.

Where the storage is another machine, every method may raise Unavailable, after some tries: later it may answer.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    def publish(self, folder: Path, key: str) -> None:
        """Make all files of a complete local folder appear under `key` at once. The folder is consumed.

        Raises:
            Conflict: the key is taken.
            StorageFull: no space is left; nothing is under the key.
        """

    def publish_file(self, path: Path, key: str) -> None:
        """Make one complete local file appear as `key`. The file is consumed; errors as with `publish`."""

    def fetch(self, key: str, files: Mapping[str, str]) -> Path:
        """A local folder with these files (name: sha256), each verified; open them within ten minutes.

        Raises:
            Corrupt: a file is missing or has another sha256; `facts` name it as `key` and `file`.
            StorageFull: there is no space here for copies of them.
        """

    def fetch_file(self, key: str) -> Path:
        """The local path of one file, for who does not know its sha256; `fetch` is for who does.

        Raises:
            NotFound: there is no such file.
        """

    def delete(self, key: str) -> None:
        """Delete what was published as `key`, or under it; nothing happens if there is nothing."""

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Keys of all files under a prefix that is a folder, also of those whose publishing was never finished."""

    def get_age_s(self, key: str) -> float:
        """Seconds since the file was stored."""

    def check_writable(self) -> None:
        """See that files can be written.

        Raises:
            NotReady: they cannot; the detail says why.
        """

    def get_free_bytes(self) -> int:
        """How much space is left on this machine for scratch folders."""

    def create_scratch_folder(self) -> Path:
        """A new empty folder from which publishing is quick; it is the caller's to delete."""

    def delete_abandoned_scratch(self) -> None:
        """Delete the scratch folders of processes that are no more, of this machine."""

    def close(self) -> None:
        """Delete this process's scratch folders."""
