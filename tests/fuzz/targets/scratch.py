"""A folder in memory for the files that targets need."""

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

_MEMORY = Path("/dev/shm")


@lru_cache(maxsize=1)
def _get_scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None)


def write_input(body: bytes) -> Path:
    """Write an input to the file that targets read."""
    path = Path(_get_scratch().name) / "input"
    path.write_bytes(body)
    return path


def get_output_folder() -> Path:
    """Return the path of a folder that does not exist."""
    folder = Path(_get_scratch().name) / "output"
    shutil.rmtree(folder, ignore_errors=True)
    return folder
