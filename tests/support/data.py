"""Real data sets on this machine, where there are any; without them the tests that need them skip with a reason."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PLACES = (_ROOT.parent / "shared" / "data", Path("/usr/share/datasets"))


def find_datasets_dir(pattern: str) -> Path:
    """The first datasets folder with a match for `pattern`: `CANDELA_DATASETS`, `../shared/data`, Debian's own."""
    configured = os.environ.get("CANDELA_DATASETS")
    folders = [*([Path(configured)] if configured else []), *_PLACES]
    folder = next((place for place in folders if any(place.glob(pattern))), None)
    if folder is None:
        pytest.skip(f"no {pattern} in CANDELA_DATASETS, ../shared/data or /usr/share/datasets")
    return folder
