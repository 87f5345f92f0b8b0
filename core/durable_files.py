"""Writes local files and flushes them to disk (fsync), so that they survive a power failure."""

import os
from pathlib import Path


def fsync_path(path: Path) -> None:
    """Flush the content of a file, or the list of entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it to disk.

    Raises:
        FileExistsError: the file already exists.
    """
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
