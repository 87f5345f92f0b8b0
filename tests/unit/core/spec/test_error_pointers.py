"""From pydantic's errors to pointers and nearest words."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import JobSpec
from core.spec.error_pointers import find_nearest, build_pointer, to_pointers, format_unknown_name

SCHEMA = JobSpec.model_json_schema()
NEEDED: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


def explained(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as refusal:
        JobSpec.model_validate(body)
    return to_pointers(refusal.value.errors(), SCHEMA)


def test_a_pointer_escapes_as_rfc_6901_says() -> None:
    assert build_pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"
    assert build_pointer([]) == ""


def test_the_tags_that_pydantic_adds_are_no_part_of_the_pointer() -> None:
    body = NEEDED | {"callbacks": [{"name": "time_limit", "seconds": 1.0}, {"name": "keep_best", "min_delta": -1.0}]}
    assert [pointer for pointer, _ in explained(body)] == ["/callbacks/1/min_delta"]


def test_the_members_of_a_plain_union_are_no_part_of_the_pointer() -> None:
    found = explained(NEEDED | {"threads": "many"})
    assert {pointer for pointer, _ in found} == {"/threads"}


def test_a_list_within_a_union_is_pointed_into() -> None:
    found = explained(NEEDED | {"loss": {"name": "cross_entropy", "class_weights": [1.0, -1.0]}})
    assert found[0][0] == "/loss/class_weights/1"


def test_a_field_named_like_the_tag_is_still_a_field() -> None:
    dataset = {"name": "digits", "train_transforms": [{"name": "affine", "affine": 1}]}
    assert explained(NEEDED | {"dataset": dataset})[0][0] == "/dataset/train_transforms/0/affine"


def test_what_a_validator_says_is_told_as_it_is() -> None:
    body = NEEDED | {"optimizer": {"name": "sgd", "nesterov": True}}
    assert explained(body) == [("/optimizer", "nesterov needs a momentum above 0 and a dampening of 0")]


def test_equal_reasons_are_told_once() -> None:
    found = explained(NEEDED | {"dataset": {"name": "digits", "version": None}})
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("word", "expected"), [("adma", "adam"), ("AdamW", "adamw"), ("sgdd", "sgd"), ("rmsporp", "rmsprop")]
)
def test_the_nearest_comes_first(word: str, expected: str) -> None:
    assert find_nearest(word, ["sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"])[0] == expected


def test_nothing_near_lists_what_is_known() -> None:
    assert format_unknown_name("optimizer", "qqq", ["adam", "sgd"]) == "unknown optimizer 'qqq'; known: 'adam', 'sgd'"
    assert len(format_unknown_name("field", "x" * 10_000, [])) < 120


@pytest.mark.parametrize(
    ("seed", "told"),
    [
        (-1, "-1"),
        (True, "true"),
        ("10", '"10"'),
        (None, "null"),
        (10**80, "a number of more than 40 digits"),
        ("\ud800" * 50, '"' + "\\ud800" * 40 + '"…'),
        ([1], "an array"),
        ({"a": 1}, "an object"),
    ],
)
def test_a_reason_says_what_came_instead(seed: Any, told: str) -> None:
    ((pointer, reason),) = explained(NEEDED | {"seed": seed})
    assert (pointer, reason.rpartition(", not ")[2]) == ("/seed", told)
