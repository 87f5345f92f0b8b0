"""The numbers of threads that equal jobs and later attempts use."""

from typing import Any

import pytest

from worker.control import thread_choices
from worker.control.thread_choices import ThreadChoices

SPEC: dict[str, Any] = {"name": "a", "epochs": 3, "architecture": {"name": "mlp", "hidden": [8]}}
RUNTIME = {"threads": 1, "thread_trials": [{"threads": 1, "steps_per_s": 90.0}, {"threads": 2, "steps_per_s": 50.0}]}


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> ThreadChoices:
    monkeypatch.setattr(thread_choices, "count_usable_cores", lambda: 4)
    return ThreadChoices()


def test_an_equal_spec_gets_the_number_of_the_first(choices: ThreadChoices) -> None:
    assert choices.find(SPEC, None) is None
    choices.record(SPEC, RUNTIME)
    assert choices.find(dict(reversed(SPEC.items())) | {"name": "b"}, None) == 1
    assert choices.find(SPEC | {"epochs": 4}, None) is None


def test_a_number_that_was_not_measured_is_not_recorded(choices: ThreadChoices) -> None:
    choices.record(SPEC, {"threads": 4})
    assert choices.find(SPEC, None) is None


def test_a_later_attempt_gets_the_number_of_the_earlier_one(choices: ThreadChoices) -> None:
    choices.record(SPEC, RUNTIME)
    assert choices.find(SPEC, RUNTIME | {"threads": 4}) == 4
    assert choices.find(SPEC, RUNTIME | {"threads": 8}) is None  # measured on a machine with more cores
    assert choices.find({}, {"threads": 4}) is None


def test_the_oldest_specs_are_forgotten(choices: ThreadChoices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_choices, "_MAX_SPECS", 2)
    for seed in range(3):
        choices.record(SPEC | {"seed": seed}, RUNTIME)
    assert [choices.find(SPEC | {"seed": seed}, None) for seed in range(3)] == [None, 1, 1]
