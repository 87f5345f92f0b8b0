"""Frozen parameters: warnings if nothing is trained."""

from typing import Any

import pytest

from core.datasets.columns import Table
from core.errors import InvalidSpec
from core.spec import JobSpec
from tests.support.validation import CONVNET, IMAGES, find_errors, resolve_training

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


BODY: dict[str, Any] = {"freeze": ["features.*"], "cache_features": True}


def resolve_choice(**changes: Any) -> Any:
    spec = resolve_training(**BODY | changes).spec
    assert isinstance(spec, JobSpec)
    return spec.cache_features


def test_cached_features_are_accepted_if_the_body_is_frozen() -> None:
    assert resolve_choice() is True


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"freeze": []}, "no parameters are frozen; set freeze"),
        ({"dataset": {"name": "digits", "train_transforms": [{"name": "horizontal_flip"}]}}, "'horizontal_flip'"),
        ({"architecture": {**CONVNET, "dropout": 0.2}, "freeze": ["*", "!head.4.*"]}, "'features.3' before frozen"),
        ({"freeze_bn_stats": False}, "the batch norm 'features.1' updates its statistics"),
        ({"freeze": ["head.*"]}, "the first layer is trained"),
    ],
)
def test_cached_features_that_are_impossible_are_an_error(changes: dict[str, Any], reason: str) -> None:
    [(pointer, message)] = find_errors(**BODY | changes)
    assert pointer == "/cache_features"
    assert message.startswith("cannot be true: ")
    assert reason in message
    assert resolve_choice(**changes | {"cache_features": "auto"}) == "auto"


def test_features_of_tables_are_not_cached() -> None:
    table = IMAGES._replace(image_shape=(4,), table=Table(columns=(), targets=("y",)))
    errors = find_errors(table, architecture={"name": "mlp"}, freeze=["1.*"], cache_features=True)
    assert ("/cache_features", "cannot be true: the samples of the dataset are not images") in errors
