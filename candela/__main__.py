"""Runs the command line as `python -m candela`."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if not sys.flags.safe_path and sys.path[0] != ROOT:
    sys.path.pop(0)  # the current folder: a file such as `core.py` there must not be imported

from candela.cli import main  # noqa: E402 - after the import path is set

main()
