"""A bounded run of every target: its seeds, inputs that failed once, and random changes with a fixed seed."""

from pathlib import Path

import pytest

from tests.fuzz.campaign import TargetCampaign
from tests.fuzz.target import MODULES, REGRESSIONS, list_regressions
from tests.fuzz.targets import documents

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


@pytest.mark.parametrize(
    ("pointer", "is_valid"),
    [
        ("/optimizer/lr", True),  # a name stands for an object
        ("/metrics/0/average", True),  # and for an array of one
        ("/channels/0", True),
        ("/epochs/name", False),
        ("/channels/0/name", False),
        ("/loss/name/x", False),
        ("/callbacks/name", False),
    ],
)
def test_a_pointer_must_name_a_value_or_a_missing_field(pointer: str, is_valid: bool) -> None:
    document = {"optimizer": "adam", "metrics": "f1", "channels": 8, "epochs": 3, "loss": {"name": 5}, "callbacks": []}
    if is_valid:
        documents._check_pointer(pointer, document)
    else:
        with pytest.raises(AssertionError):
            documents._check_pointer(pointer, document)
