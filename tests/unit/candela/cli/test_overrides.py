"""Changes of a job spec from the command line."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candela import CandelaError
from candela.cli.overrides import apply_overrides, build_patch, list_missing_objects, parse_overrides

SPEC: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "optimizer": {"name": "adam", "lr": 0.1},
    "loss": "cross_entropy",
    "epochs": 5,
    "callbacks": [{"name": "early_stopping", "patience": 5}, "keep_best"],
}
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text("abc", max_size=3)),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(st.sampled_from("abc"), children)),
    max_leaves=6,
)


def change(*arguments: str) -> dict[str, Any]:
    return apply_overrides(SPEC, parse_overrides(arguments))


@pytest.mark.parametrize(
    ("argument", "field", "expected"),
    [
        ("optimizer.lr=0.01", "optimizer", {"name": "adam", "lr": 0.01}),
        ("optimizer.lr=1e-3", "optimizer", {"name": "adam", "lr": 0.001}),
        ("optimizer.betas=[0.9, 0.95]", "optimizer", {"name": "adam", "lr": 0.1, "betas": [0.9, 0.95]}),
        ("optimizer={name: sgd, lr: 1}", "optimizer", {"name": "sgd", "lr": 1}),
        ("optimizer=sgd", "optimizer", "sgd"),
        ("callbacks.0.patience=3", "callbacks", [{"name": "early_stopping", "patience": 3}, "keep_best"]),
        ("callbacks.1.monitor=loss", "callbacks", [SPEC["callbacks"][0], {"name": "keep_best", "monitor": "loss"}]),
        ("callbacks.2=csv_logger", "callbacks", [*SPEC["callbacks"], "csv_logger"]),
        ("callbacks+={name: ema}", "callbacks", [*SPEC["callbacks"], {"name": "ema"}]),
        ("callbacks=[]", "callbacks", []),
        ("metrics+=accuracy", "metrics", ["accuracy"]),
        ("metrics.0=accuracy", "metrics", ["accuracy"]),
        ("loss.label_smoothing=0.1", "loss", {"name": "cross_entropy", "label_smoothing": 0.1}),
        ("schedule.name=cosine", "schedule", {"name": "cosine"}),
        ("epochs=10", "epochs", 10),
        ("name=null", "name", None),
        ("name=", "name", None),
        ("name=a=b", "name", "a=b"),
        ("device='0'", "device", "0"),
    ],
)
def test_a_field_is_changed_and_the_others_are_not(argument: str, field: str, expected: object) -> None:
    before = copy.deepcopy(SPEC)
    assert change(argument) == {**SPEC, field: expected}
    assert before == SPEC


def test_changes_apply_in_their_order() -> None:
    assert change("optimizer=sgd", "optimizer.lr=1", "optimizer.lr=2")["optimizer"] == {"name": "sgd", "lr": 2}


@pytest.mark.parametrize(
    "argument",
    "epochs =1 .lr=1 optimizer..lr=1 optimizer.=1 +=1 callbacks.7.patience=1 callbacks.x=1 callbacks.-1=1 epochs.x=1 "
    "epochs.x.y=1 epochs+=1 callbacks.5=1 epochs=[ epochs.x+=1".split(),
)
def test_an_invalid_change_is_named_in_the_error(argument: str) -> None:
    with pytest.raises(CandelaError) as caught:
        change(argument)
    assert argument in str(caught.value)


@given(before=st.dictionaries(st.sampled_from("abc"), VALUES), after=st.dictionaries(st.sampled_from("abc"), VALUES))
def test_a_patch_changes_the_spec_as_the_server_applies_it(before: dict[str, Any], after: dict[str, Any]) -> None:
    from app.services.merge_patch import apply_merge_patch

    wanted = drop_null(after)  # a merge patch cannot set null
    assert apply_merge_patch(before, build_patch(before, wanted)) == wanted
    assert build_patch(wanted, wanted) == {}


def drop_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: drop_null(each) for key, each in value.items() if each is not None}
    return value


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["schedule.gamma=0.5"], ["schedule"]),
        (["schedule=step", "schedule.gamma=0.5"], []),
        (["optimizer.lr=1"], []),
        (["metrics.0=accuracy"], []),
        (["epochs=1"], []),
    ],
)
def test_objects_of_which_only_parts_are_set_are_found(arguments: list[str], expected: list[str]) -> None:
    assert list_missing_objects(SPEC, parse_overrides(arguments)) == expected
