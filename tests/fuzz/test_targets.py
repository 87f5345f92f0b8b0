"""A bounded run of every target: its seeds, inputs that failed once, and random changes with a fixed seed."""

from pathlib import Path

import pytest

from tests.fuzz.campaign import TargetCampaign
from tests.fuzz.target import MODULES, REGRESSIONS, list_regressions

NUM_EXAMPLES = 500
MAX_SECONDS = 240.0


@pytest.mark.parametrize("target", MODULES)
def test_no_input_crashes_or_exceeds_its_budget(target: str, tmp_path: Path) -> None:
    figures = TargetCampaign(target, "seeded", tmp_path, seed=1).run(MAX_SECONDS, NUM_EXAMPLES)
    reports = [finding.path.with_suffix(".txt").read_text() for finding in figures.findings]
    assert not reports, "\n".join(reports)
    assert figures.num_inputs == NUM_EXAMPLES


def test_every_stored_input_belongs_to_a_target() -> None:
    stored = {path for path in REGRESSIONS.rglob("*") if path.is_file()}
    assert stored == {path for target in MODULES for path in list_regressions(target)}
