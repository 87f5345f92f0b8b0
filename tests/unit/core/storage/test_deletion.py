"""Deleting files whose rows were deleted."""

from pathlib import Path

from core.errors import Unavailable
from core.storage import LocalStorage
from core.storage.deletion import delete_stored_files


class FailingStorage(LocalStorage):
    """Fails to delete one key."""

    def delete(self, key: str) -> None:
        """Raise for the key `a`."""
        if key == "a":
            raise Unavailable("The storage cannot be used.")
        super().delete(key)


def publish(storage: LocalStorage, folder: Path, key: str) -> None:
    path = folder / key
    path.write_text("content")
    storage.publish_file(path, key)


def test_an_error_does_not_stop_the_deletion(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    storage = FailingStorage(tmp_path / "store")
    (tmp_path / "store").mkdir()
    for key in ("a", "b"):
        publish(storage, tmp_path / "files", key)
    delete_stored_files(storage, ["a", "b", "missing"])
    assert (tmp_path / "store" / "a").is_file()
    assert not (tmp_path / "store" / "b").exists()
