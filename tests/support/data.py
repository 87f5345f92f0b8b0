"""Finds the original datasets on this machine. Tests that need them are skipped if there are none."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = (_ROOT.parent / "shared" / "data", Path("/usr/share/datasets"))


def find_datasets_dir(pattern: str) -> Path:
    """Return the first datasets folder with a match for `pattern`."""
    configured = os.environ.get("CANDELA_DATASETS")
    folders = [*([Path(configured)] if configured else []), *_FOLDERS]
    folder = next((candidate for candidate in folders if any(candidate.glob(pattern))), None)
    if folder is None:
        pytest.skip(f"no {pattern} in CANDELA_DATASETS, ../shared/data or /usr/share/datasets")
    return folder
