"""Frozen parameters: warnings if nothing is trained."""

from typing import Any

import pytest

from app.services.validation.freezing import match_frozen_parameters
from core.errors import InvalidSpec
from tests.support.validation import resolve_training
from worker.engine import transfer

ALL = [{"name": "freeze", "match": "*"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": ["*"]},
        {"freeze": ["head.*", "features.*"]},
        {"freeze": ["!head.*", "*"]},
        {"callbacks": ALL},
        {"freeze": ["head.*"], "callbacks": [{"name": "freeze", "match": "features.*"}]},
        {
            "epochs": 5,
            "callbacks": [
                {"name": "freeze", "match": "head.*", "from_epoch": 2},
                {"name": "freeze", "match": "features.*", "from_epoch": 4},
            ],
        },
        {"freeze": ["*"], "kind": "lr_find"},
    ],
)
def test_freezing_every_parameter_is_a_warning(changes: dict[str, Any]) -> None:
    [warning] = resolve_training(**changes).warnings
    assert "nothing will be trained" in warning


@pytest.mark.parametrize(("changes", "pointer"), [({"freeze": ["*"]}, "/freeze"), ({"callbacks": ALL}, "/callbacks")])
def test_freezing_every_parameter_in_several_processes_is_an_error(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        resolve_training(**changes, resources={"devices": 2}, batch_size=8)
    assert [place for place, _ in raised.value.errors] == [pointer]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"freeze": ["*", "!head.*"]},
        {"freeze": ["features.*"]},
        {"epochs": 3, "callbacks": [{"name": "freeze", "match": "*", "from_epoch": 4}]},
        {
            "epochs": 5,
            "callbacks": [
                {"name": "freeze", "match": "head.*", "until_epoch": 2},
                {"name": "freeze", "match": "features.*", "from_epoch": 3},
            ],
        },
    ],
)
def test_training_some_parameters_gives_no_warning(changes: dict[str, Any]) -> None:
    assert resolve_training(**changes).warnings == ()


@pytest.mark.parametrize("patterns", [[], ["*"], ["a.*", "!a.b"], ["!a.b", "a.*"], ["?.b", "!b*", "b.c"]])
def test_the_same_parameters_are_frozen_as_in_the_training(patterns: list[str]) -> None:
    names = ["a.b", "a.c", "b.b", "b.c"]
    assert match_frozen_parameters(patterns, names) == transfer.match_frozen_parameters(patterns, names)
