"""The names of models that jobs register."""

from typing import Any

import pytest

from tests.support.validation import find_errors, resolve_training


@pytest.mark.parametrize(("fields", "pointer"), [({"name": "stats"}, "/name"), ({"model": "ready"}, "/model")])
def test_reserved_names_are_refused(fields: dict[str, Any], pointer: str) -> None:
    ((found, reason),) = find_errors(**fields)
    assert found == pointer
    assert "is reserved" in reason


def test_the_name_of_the_job_is_free_if_the_model_has_another_name() -> None:
    assert resolve_training(name="stats", model="digits").spec.model == "digits"


@pytest.mark.parametrize("fields", [{"name": "stats"}, {"name": "ready"}])
def test_the_name_of_a_job_that_registers_no_model_is_free(fields: dict[str, Any]) -> None:
    assert resolve_training(kind="lr_find", **fields).spec.name == fields["name"]
