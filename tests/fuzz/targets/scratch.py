"""Files that targets need, in the temporary folder of the child, which the parent deletes."""

import shutil
import tempfile
from pathlib import Path


def write_input(body: bytes) -> Path:
    """Write an input to the file that targets read."""
    path = Path(tempfile.gettempdir()) / "input"
    path.write_bytes(body)
    return path


def get_output_folder() -> Path:
    """Return the path of a folder that does not exist."""
    folder = Path(tempfile.gettempdir()) / "output"
    shutil.rmtree(folder, ignore_errors=True)
    return folder
