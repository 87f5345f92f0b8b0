"""Where the errors of a trial's job spec are in its sweep."""

from typing import Any

import pytest
from pydantic import JsonValue

from app.services.validation import sweep as rules
from core.errors import InvalidSpec
from core.sweeps.sampling import Suggestion
from core.sweeps.spec import SweepSpec
from core.sweeps.states import TrialSource
from tests.support.sweeps import BASE, build_sweep

SPACE: dict[str, Any] = {
    "/optimizer": {"type": "choice", "values": ["adam", {"name": "sgd"}]},
    "/optimizer/lr": {"type": "float", "low": 0.001, "high": 0.1},
    "/batch_size": {"type": "int", "low": 16, "high": 64},
}
PARAMETERS: dict[str, JsonValue] = {"/optimizer": {"name": "sgd"}, "/optimizer/lr": 0.01, "/batch_size": 32}


@pytest.fixture
def sweep() -> SweepSpec:
    return build_sweep(space=SPACE, first=[{"/batch_size": 32}])


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("/epochs", "/base/epochs"),
        ("/optimizer", "/space/~1optimizer/values/1"),
        ("/optimizer/momentum", "/space/~1optimizer/values/1/momentum"),
        ("/optimizer/lr", "/space/~1optimizer~1lr"),
        ("/batch_size", "/first/0/~1batch_size"),
        ("/model", "/name"),
    ],
)
def test_an_error_is_at_the_innermost_parameter(sweep: SweepSpec, pointer: str, expected: str) -> None:
    suggestion = Suggestion(0, PARAMETERS, TrialSource.FIRST)
    assert rules.locate_field(sweep, suggestion, pointer) == expected


def test_an_error_of_a_later_trial_is_at_its_own_entry() -> None:
    sweep = build_sweep(space=SPACE, first=[{"/batch_size": 16}, {"/optimizer/lr": 0.01}, {"/batch_size": 32}])
    for number, expected in ((1, "/space/~1batch_size"), (2, "/first/2/~1batch_size")):
        assert rules.locate_field(sweep, Suggestion(number, PARAMETERS, TrialSource.FIRST), "/batch_size") == expected


def test_an_error_of_the_model_is_where_its_name_comes_from() -> None:
    suggestion = Suggestion(0, {}, TrialSource.SAMPLER)
    for name in ("name", "model"):
        named = build_sweep(base=BASE | {name: "stats"})
        assert rules.locate_field(named, suggestion, "/model") == f"/base/{name}"


def test_each_value_is_checked_alone() -> None:
    space = SPACE | {
        "/batch_size": {"type": "int", "low": 0, "high": 64},
        "/precision": {"type": "choice", "values": ["fp32", "fp8"]},
        "/optimizer/momentum": {"type": "float", "low": -1, "high": 0.9, "when": {"/optimizer/name": "sgd"}},
    }
    errors = dict(rules.find_value_errors(build_sweep(space=space)))
    assert set(errors) == {
        "/space/~1batch_size/low",
        "/space/~1precision/values/1",
        "/space/~1optimizer~1momentum/low",
    }


def test_an_error_of_all_values_is_reported_once() -> None:
    space = {"/dropout": {"type": "choice", "values": [0.1, 0.2, 0.3]}}
    ((pointer, reason),) = rules.find_value_errors(build_sweep(space=space))
    assert pointer == "/space/~1dropout"
    assert "unknown field 'dropout'" in reason


def test_the_number_of_checked_values_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    space = {
        "/precision": {"type": "choice", "values": ["fp32", "a"]},
        "/device": {"type": "choice", "values": ["cpu", "b"]},
    }
    assert len(rules.find_value_errors(build_sweep(space=space))) == 2
    monkeypatch.setattr(rules, "MAX_CHECKED_VALUES", 3)
    assert [pointer for pointer, _ in rules.find_value_errors(build_sweep(space=space))] == [
        "/space/~1precision/values/1"
    ]


def test_parameters_of_a_client_give_the_job_of_the_trial(sweep: SweepSpec) -> None:
    job = rules.check_parameters(sweep, PARAMETERS | {"/optimizer": "adam"})
    assert (job.optimizer.name, job.batch_size) == ("adam", 32)


def test_all_errors_of_parameters_are_reported(sweep: SweepSpec) -> None:
    with pytest.raises(InvalidSpec) as raised:
        rules.check_parameters(sweep, {"/optimizer": "adam", "/optimizer/lr": 7, "/seed": 1})
    assert [pointer for pointer, _ in raised.value.errors] == [
        "/parameters",
        "/parameters/~1optimizer~1lr",
        "/parameters/~1seed",
    ]


def test_an_error_outside_of_the_parameters_names_the_field_of_the_job(sweep: SweepSpec) -> None:
    error = InvalidSpec("x", errors=[("/callbacks/0", "is wrong"), ("/optimizer/lr", "is too high")])
    assert rules.locate_parameters(error, PARAMETERS).errors == [
        ("/parameters", "give an invalid job: /callbacks/0: is wrong"),
        ("/parameters/~1optimizer~1lr", "is too high"),
    ]


def test_samples_are_the_first_trials_of_the_sweep(sweep: SweepSpec) -> None:
    samples = rules.sample_parameters(sweep, 3)
    assert [sample.number for sample in samples] == [0, 1, 2]
    assert samples == rules.sample_parameters(sweep, 5)[:3]
    grid = build_sweep(sampler="grid", space={"/seed": {"type": "choice", "values": [1, 2]}})
    assert len(rules.sample_parameters(grid, 5)) == 2
