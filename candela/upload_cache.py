"""Remembers unfinished uploads in the user's cache folder, so that another process can continue them."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_AGE_S = 31 * 24 * 3600.0  # longer than a server keeps an upload


class UploadCache:
    """The paths of unfinished uploads by fingerprint, one small file each. A cache that cannot be written is empty.

    Args:
        folder: default: `candela/uploads` in `XDG_CACHE_HOME`, else in `~/.cache`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _get_cache_home() / "candela" / "uploads"

    def find(self, fingerprint: str) -> str | None:
        """Return the path of the upload on the server, such as `/v1/uploads/…`, or None."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(self._get_file(fingerprint).read_text())["upload"])
        return None

    def store(self, fingerprint: str, upload: str) -> None:
        """Remember an upload, and forget uploads that are older than `MAX_AGE_S`."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w") as file:
                json.dump({"upload": upload}, file)
            Path(name).replace(self._get_file(fingerprint))
            self._delete_old_files()

    def forget(self, fingerprint: str) -> None:
        with suppress(OSError):
            self._get_file(fingerprint).unlink()

    def _get_file(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint}.json"

    def _delete_old_files(self) -> None:
        for file in self._folder.iterdir():
            if time.time() - file.stat().st_mtime > MAX_AGE_S:
                file.unlink()


def compute_fingerprint(*parts: Sequence[Any] | str | int) -> str:
    """Return the sha256 of values such as the path, the size and the modification time of a file."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _get_cache_home() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    return Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
