"""Every example is a valid job spec for the command line."""

from pathlib import Path

import pytest

from candela.specs import read_spec
from core.spec import JobSpec

EXAMPLES = sorted(Path("examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_job(path: Path) -> None:
    spec = JobSpec.model_validate(read_spec(path))
    assert spec.name is not None


def test_there_are_three_examples() -> None:
    assert len(EXAMPLES) >= 3
