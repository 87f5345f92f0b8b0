"""Starts Python processes that import this service's modules, whatever files are in the current folder.

Without `-P`, `python -m` searches the current folder first: a file `core.py` or `torch.py` there would be imported.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (sys.executable, "-P")
"""The first words of every command that runs Python. Pass the result of `set_import_path` as the environment."""


def set_import_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with an explicit import path: the folder of this service first, no current folder.

    Relative entries of `PYTHONPATH` are removed. Processes that the process starts have the same path.
    """
    entries = environment.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in entries if Path(entry).is_absolute() and Path(entry) != ROOT]
    return {**environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *others]), "PYTHONSAFEPATH": "1"}
