"""The examples of sweeps in the API documentation."""

from pathlib import Path

import yaml

from app.schemas.sweep_examples import SWEEPS
from core.sweeps.spec import SweepSpec

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_first_example_is_the_file() -> None:
    first = next(iter(SWEEPS.values()))["value"]
    written = yaml.safe_load((EXAMPLES / "digits_sweep.yaml").read_text())
    assert SweepSpec.model_validate(first) == SweepSpec.model_validate(written)
