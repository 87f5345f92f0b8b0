"""The numbers of threads and the precisions that equal jobs and later attempts use."""

from typing import Any

import pytest

from worker.control import measured_choices
from worker.control.measured_choices import MeasuredChoices

SPEC: dict[str, Any] = {"name": "a", "epochs": 3, "architecture": {"name": "mlp", "hidden": [8]}}
RUNTIME = {"threads": 1, "thread_trials": [{"threads": 1, "steps_per_s": 90.0}, {"threads": 2, "steps_per_s": 50.0}]}


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> MeasuredChoices:
    monkeypatch.setattr(measured_choices, "count_usable_cores", lambda: 4)
    return MeasuredChoices()


def test_an_equal_spec_gets_the_number_of_the_first(choices: MeasuredChoices) -> None:
    assert choices.find(SPEC, None) == {}
    choices.record(SPEC, RUNTIME)
    assert choices.find(dict(reversed(SPEC.items())) | {"name": "b"}, None) == {"threads": 1}
    assert choices.find(SPEC | {"epochs": 4}, None) == {}


def test_a_number_that_was_not_measured_is_not_recorded(choices: MeasuredChoices) -> None:
    choices.record(SPEC, {"threads": 4})
    assert choices.find(SPEC, None) == {}


def test_a_later_attempt_gets_the_number_of_the_earlier_one(choices: MeasuredChoices) -> None:
    choices.record(SPEC, RUNTIME)
    assert choices.find(SPEC, RUNTIME | {"threads": 4}) == {"threads": 4}
    assert choices.find(SPEC, RUNTIME | {"threads": 8}) == {}  # measured on a machine with more cores
    assert choices.find({}, {"threads": 4}) == {}


def test_the_oldest_specs_are_forgotten(choices: MeasuredChoices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_choices, "_MAX_SPECS", 2)
    for seed in range(3):
        choices.record(SPEC | {"seed": seed}, RUNTIME)
    assert [choices.find(SPEC | {"seed": seed}, None) for seed in range(3)] == [{}, {"threads": 1}, {"threads": 1}]


def test_a_measured_precision_is_remembered_with_the_threads(choices: MeasuredChoices) -> None:
    both = RUNTIME | {"precision": "fp32", "precision_trials": [{"precision": "bf16"}, {"precision": "fp32"}]}
    choices.record(SPEC, both)
    assert choices.find(SPEC, None) == {"threads": 1, "precision": "fp32"}
    assert choices.find(SPEC, both | {"threads": 8}) == {"precision": "fp32"}
    assert choices.find(SPEC, None) == {"threads": 1, "precision": "fp32"}
