"""A short soak: many jobs and many kills; no job is lost or run twice."""

import random
from pathlib import Path

import pytest

from tests.faults.soak import soak

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]


def test_row_104_a_short_soak_loses_no_job(tmp_path: Path, chance: random.Random) -> None:
    figures = soak(tmp_path, 45.0, chance.randrange(2**32))
    assert figures.is_clean, figures
    assert sum(figures.faults.values()) >= 3
    assert figures.succeeded > 0
