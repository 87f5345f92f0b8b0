"""The columns of a new job that its spec determines."""

import pytest

from core.spec import ANY_JOB
from core.spec.submission import build_initial_progress, get_registry_name

TRAIN = {"dataset": "digits", "architecture": "mlp", "epochs": 3, "name": "a"}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (TRAIN, "a"),
        (TRAIN | {"model": "b"}, "b"),
        ({"kind": "evaluate", "model": "b@3", "dataset": "digits"}, "b"),
    ],
)
def test_the_name_of_the_model_has_no_version(fields: dict[str, object], name: str) -> None:
    assert get_registry_name(ANY_JOB.validate_python(fields)) == name


def test_a_training_knows_its_steps_once_it_is_validated() -> None:
    spec = ANY_JOB.validate_python(TRAIN)
    assert build_initial_progress(spec, None)["steps"] == 0
    assert build_initial_progress(spec, 10) == {"epoch": 0, "epochs": 3, "step": 0, "steps": 30, "eta_seconds": None}
    evaluation = ANY_JOB.validate_python({"kind": "evaluate", "model": "b", "dataset": "digits"})
    assert build_initial_progress(evaluation, 10)["steps"] == 0
