"""The errors of a sweep: the field, the value, and what is accepted."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.spec.error_pointers import to_pointers
from core.sweeps.rules import find_errors
from core.sweeps.spec import SweepSpec
from tests.support.sweeps import BASE, CONDITIONAL, LR

LR_POINTER = "/space/~1optimizer~1lr"
NUMBER = {"type": "int", "low": 1, "high": 2}


def list_errors(**fields: Any) -> list[tuple[str, str]]:
    try:
        return find_errors(SweepSpec.model_validate({"base": BASE, "space": LR} | fields))
    except ValidationError as error:
        return to_pointers(error.errors(include_url=False), SweepSpec.model_json_schema())


def test_a_valid_sweep_has_no_errors() -> None:
    assert not list_errors(space=CONDITIONAL, scheduler="asha", sampler="grid", first=[{"/batch_size": 17}])


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"space": {"/optimizer/lr": {"type": "float", "low": 1}}}, [(f"{LR_POINTER}/high", "is missing")]),
        (
            {"space": {"/optimizer/lr": {"type": "flot", "low": 1}}},
            [(LR_POINTER, "unknown type 'flot'; did you mean 'float'?")],
        ),
        (
            {"space": {"optimizer": NUMBER}},
            [("/space/optimizer", "should be a JSON pointer such as '/optimizer/lr', not \"optimizer\"")],
        ),
        ({"sampler": "tpee"}, [("/sampler", "unknown name 'tpee'; did you mean 'tpe'?")]),
        (
            {"scheduler": {"name": "asha", "reduction": 1}},
            [("/scheduler/reduction", "should be greater than or equal to 2, not 1")],
        ),
        ({"budget": {}}, [("/budget", "at least one of trials, epochs and hours must be set")]),
        (
            {"budget": {"trials": 10_001}},
            [("/budget/trials", "should be less than or equal to 10000, not 10001")],
        ),
        ({"register": "last"}, [("/register", "should be 'best', 'all' or 'none', not \"last\"")]),
        ({"space": {}}, [("/space", "should have at least 1 field, not 0")]),
        (
            {"space": {"/epochs": NUMBER}},
            [
                (
                    "/space/~1epochs",
                    "is the same for all trials; set it in base, and use a scheduler to train some trials for fewer "
                    "epochs",
                )
            ],
        ),
        (
            {"base": BASE | {"kind": "lr_find"}},
            [("/base/kind", "should be 'train', the only kind of job that a sweep can search over, not 'lr_find'")],
        ),
        (
            {"space": {"/optimizer/lr": NUMBER | {"when": {"/optimizer/nam": "sgd"}}}},
            [
                (
                    f"{LR_POINTER}/when/~1optimizer~1nam",
                    "does not exist: neither base nor a parameter of the sweep sets it",
                )
            ],
        ),
        (
            {"space": {"/optimizer/lr": NUMBER | {"when": {"/optimizer/lr": 1}}}},
            [(f"{LR_POINTER}/when/~1optimizer~1lr", "cannot be a condition of itself")],
        ),
        (
            {"first": [{}, {"/optimizer/lr": 1.0, "/batch_size": 3}]},
            [
                ("/first/1/~1optimizer~1lr", "should be from 1e-05 to 0.3, not 1.0"),
                ("/first/1/~1batch_size", "is not a parameter of the sweep"),
            ],
        ),
        (
            {"scheduler": {"name": "asha", "min_epochs": 27}, "budget": {"epochs": 26}},
            [
                ("/scheduler/min_epochs", "should be less than the epochs of a trial (27), not 27"),
                ("/budget/epochs", "should be at least 27, the epochs until the first milestone, not 26"),
            ],
        ),
        (
            {"scheduler": "pbt", "budget": {"trials": 7}, "space": {"/architecture/dropout": NUMBER}},
            [
                ("/budget/trials", "should be at least the population (8), not 7"),
                (
                    "/space/~1architecture~1dropout",
                    "cannot be a parameter with 'pbt', which continues the weights of other trials: architecture is "
                    "fixed",
                ),
            ],
        ),
        (
            {
                "sampler": {"name": "grid", "points": 400},
                "space": {pointer: {"type": "float", "low": 0, "high": 1} for pointer in ("/optimizer/lr", "/a", "/b")},
            },
            [("/sampler", "the grid has 100000 combinations or more; use fewer values, or another sampler")],
        ),
    ],
)
def test_an_error_names_the_field_and_what_is_accepted(fields: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    assert list_errors(**fields) == errors


def test_conditions_that_depend_on_each_other_are_an_error() -> None:
    space = {"/a": NUMBER | {"when": {"/b": 1}}, "/b": NUMBER | {"when": {"/a": 1}}}
    ((pointer, reason),) = list_errors(space=space)
    assert pointer in {"/space/~1a/when", "/space/~1b/when"}
    assert reason == "the conditions of /a and /b depend on each other"


def test_a_stored_spec_is_read_again() -> None:
    fields = {"base": BASE, "space": CONDITIONAL, "register": "all", "sampler": "qmc", "scheduler": "hyperband"}
    spec = SweepSpec.model_validate(fields)
    document = spec.model_dump(mode="json")
    assert document["register"] == "all"
    assert SweepSpec.model_validate(document) == spec
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec
