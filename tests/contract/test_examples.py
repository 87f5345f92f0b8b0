"""Every example is a valid job or sweep for the command line."""

from pathlib import Path

import pytest

from candela.specs import read_spec
from core.spec import JobSpec
from core.sweeps.rules import find_errors
from core.sweeps.spec import SweepSpec

EXAMPLES = sorted(path for path in Path("examples").glob("*.yaml") if "base" not in read_spec(path))
SWEEP_EXAMPLES = sorted(path for path in Path("examples").glob("*.yaml") if "base" in read_spec(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_job(path: Path) -> None:
    spec = JobSpec.model_validate(read_spec(path))
    assert spec.name is not None


@pytest.mark.parametrize("path", SWEEP_EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_sweep(path: Path) -> None:
    spec = SweepSpec.model_validate(read_spec(path))
    assert spec.name is not None
    assert find_errors(spec) == []


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) >= 3
    assert SWEEP_EXAMPLES
