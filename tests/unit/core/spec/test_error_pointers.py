"""Errors have JSON pointers and similar names."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import JobSpec
from core.spec.error_pointers import (
    MAX_CANDIDATES,
    MAX_ERRORS,
    UNEXPLAINED,
    build_pointer,
    find_nearest,
    format_names,
    format_unknown_name,
    to_pointers,
)

SCHEMA = JobSpec.model_json_schema()
REQUIRED: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


def list_errors(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as raised:
        JobSpec.model_validate(body)
    return to_pointers(raised.value.errors(), SCHEMA)


def test_a_pointer_is_escaped_as_in_rfc_6901() -> None:
    assert build_pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"
    assert build_pointer([]) == ""


def test_pydantic_tags_are_not_in_the_pointer() -> None:
    body = REQUIRED | {"callbacks": [{"name": "time_limit", "seconds": 1.0}, {"name": "keep_best", "min_delta": -1.0}]}
    assert [pointer for pointer, _ in list_errors(body)] == ["/callbacks/1/min_delta"]


def test_union_members_are_not_in_the_pointer() -> None:
    errors = list_errors(REQUIRED | {"threads": "many"})
    assert {pointer for pointer, _ in errors} == {"/threads"}


def test_a_pointer_reaches_into_an_array_of_a_union() -> None:
    errors = list_errors(REQUIRED | {"loss": {"name": "cross_entropy", "class_weights": [1.0, -1.0]}})
    assert errors[0][0] == "/loss/class_weights/1"


def test_a_field_with_the_name_of_a_tag_is_in_the_pointer() -> None:
    dataset = {"name": "digits", "train_transforms": [{"name": "affine", "affine": 1}]}
    assert list_errors(REQUIRED | {"dataset": dataset})[0][0] == "/dataset/train_transforms/0/affine"


def test_the_message_of_a_validator_is_unchanged() -> None:
    body = REQUIRED | {"optimizer": {"name": "sgd", "nesterov": True}}
    assert list_errors(body) == [("/optimizer", "nesterov requires a momentum above 0 and a dampening of 0")]


def test_equal_errors_are_listed_once() -> None:
    errors = list_errors(REQUIRED | {"dataset": {"name": "digits", "version": None}})
    assert len(errors) == len(set(errors))


@pytest.mark.parametrize(
    ("name", "expected"), [("adma", "adam"), ("AdamW", "adamw"), ("sgdd", "sgd"), ("rmsporp", "rmsprop")]
)
def test_the_most_similar_name_is_first(name: str, expected: str) -> None:
    assert find_nearest(name, ["sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta"])[0] == expected


def test_without_a_similar_name_valid_names_are_listed() -> None:
    assert format_unknown_name("optimizer", "qqq", ["adam", "sgd"]) == "unknown optimizer 'qqq'; known: 'adam', 'sgd'"
    assert len(format_unknown_name("field", "x" * 10_000, [])) < 120


@pytest.mark.parametrize(
    ("seed", "value"),
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
def test_an_error_has_the_received_value(seed: Any, value: str) -> None:
    ((pointer, reason),) = list_errors(REQUIRED | {"seed": seed})
    assert (pointer, reason.rpartition(", not ")[2]) == ("/seed", value)


def test_errors_after_the_first_100_are_counted_but_not_explained() -> None:
    errors = list_errors(REQUIRED | {f"key{index}": 1 for index in range(3000)})
    assert len(errors) == 3000
    assert set(errors[MAX_ERRORS:]) == {("", UNEXPLAINED)}
    assert "unknown field 'key99'" in errors[MAX_ERRORS - 1][1]


def test_a_long_array_is_reported_by_its_length() -> None:
    assert list_errors(REQUIRED | {"metrics": ["accuracy"] * 40}) == [
        ("/metrics", "should have at most 32 items, not 40")
    ]


def test_an_entry_with_many_options_has_one_error() -> None:
    options = {f"key{index}": 1 for index in range(3000)}
    for field in ("dataset", "architecture"):
        [error] = list_errors(REQUIRED | {field: {"name": "digits"} | options})
        assert error == (f"/{field}", "must have at most 100 fields; got 3001")


def test_lists_of_names_are_shortened() -> None:
    names = [f"{index}" + "x" * 1000 for index in range(4096)]
    assert len(format_names(names)) < 3000
    assert format_names(names).endswith("and 4066 more")
    assert format_names(["a", "b"]) == "a, b"
    assert len(format_unknown_name("column", "q" * 10**6, names)) < 3000


def test_a_name_is_compared_with_a_limited_number_of_names() -> None:
    names = [f"n{index}" for index in range(MAX_CANDIDATES)]
    assert find_nearest("adam", [*names, "adam"]) == []
    assert find_nearest("adam", ["adam", *names]) == ["adam"]
