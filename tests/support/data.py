"""Real data sets on this machine, where there are any; without them the tests that need them skip with a reason."""

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PLACES = (_ROOT.parent / "shared" / "data", Path("/usr/share/datasets"))


def datasets_dir(pattern: str) -> Path:
    """The first datasets folder with a match for `pattern`: `CANDELA_DATASETS`, `../shared/data`, Debian's own."""
    named = os.environ.get("CANDELA_DATASETS")
    places = [*([Path(named)] if named else []), *_PLACES]
    found = next((place for place in places if any(place.glob(pattern))), None)
    if found is None:
        pytest.skip(f"no {pattern} in CANDELA_DATASETS, ../shared/data or /usr/share/datasets")
    return found
