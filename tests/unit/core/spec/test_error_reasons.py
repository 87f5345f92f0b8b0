"""Reasons use JSON's terms for every error of the validator, name the value, and show no internals of Python."""

import re
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, core_schema
from pydantic_core._pydantic_core import list_all_errors

from core.spec.error_pointers import to_pointers
from core.spec.error_reasons import REASONS, format_reason, shorten, summarize_input
from core.spec.job_kinds import SPEC_BY_KIND

INTERNALS = re.compile(
    r"\b(tuple|list|dict|dictionary|frozendict|OrderedDict|Counter|deque|set|frozenset|bytes or|bytearray|instance|None"
    r"|True|False|extract|attribute|after validation|Input|input|python|pydantic|callable|iterable|hashable|sentinel"
    r"|timedelta|datetime|Decimal|Fraction|complex|keyword|positional|argument|parse|tag|mapping|regex|pattern|str|int)\b"
    r"|\^|\\\\|\{|\[0-9"
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab1.", max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("ab", max_size=2), children, max_size=3),
    max_leaves=5,
)


def test_the_table_has_every_error_type() -> None:
    assert set(REASONS) == set(get_args(core_schema.ErrorType)) == {error["type"] for error in list_all_errors()}


@pytest.mark.parametrize("error", list_all_errors(), ids=lambda error: error["type"])
def test_no_error_type_shows_internals(error: Any) -> None:
    context = {
        **(error.get("example_context") or {}),
        **({"expected": "1, None or True"} if error["type"] in ("enum", "literal_error") else {}),
        **({"error": ValueError("must be even")} if error["type"] in ("value_error", "assertion_error") else {}),
        **({"pattern": "^[a-z]+$"} if error["type"] == "string_pattern_mismatch" else {}),
    }
    entry = {"type": error["type"], "loc": ("field",), "msg": error["example_message_python"], "input": ["a value"]}
    reason = format_reason(entry | {"ctx": context} if context else entry)
    assert not INTERNALS.search(reason), reason
    assert reason[:1].islower(), reason


class Everything(BaseModel, extra="forbid"):
    numbers: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)]
    pair: tuple[int, str]
    table: Annotated[dict[str, int], Field(max_length=1)]
    choice: Literal["a", 1, None, True]
    name: Annotated[str, Field(pattern="^[a-z]+$", min_length=1)]
    size: Annotated[int, Field(ge=1)] | Literal["auto"]
    wait: timedelta | None
    part: "Everything | None"


def explain(value: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        Everything.model_validate(value)
    return dict(to_pointers(raised.value.errors(), Everything.model_json_schema()))


VALID = {"numbers": [1], "pair": [1, "a"], "table": {}, "choice": "a", "name": "a", "size": 1, "wait": 1, "part": None}


@pytest.mark.parametrize(
    ("changes", "pointer", "reason"),
    [
        ({"numbers": "accuracy"}, "/numbers", 'should be an array, not "accuracy"'),
        ({"numbers": []}, "/numbers", "should have at least 1 item, not 0"),
        ({"numbers": [1, 2, 3]}, "/numbers", "should have at most 2 items, not 3"),
        ({"numbers": None}, "/numbers", "should be an array, not null"),
        ({"pair": [1]}, "/pair/1", "is missing"),
        ({"table": [1]}, "/table", "should be an object, not an array"),
        ({"table": {"a": 1, "b": 2}}, "/table", "should have at most 1 field, not 2"),
        ({"choice": "b"}, "/choice", "should be 'a', 1, null or true, not \"b\""),
        ({"name": "A"}, "/name", 'should be a text of another form, not "A"'),
        ({"name": True}, "/name", "should be a string, not true"),
        ({"size": "many"}, "/size", "should be an integer or 'auto', not \"many\""),
        ({"size": 0}, "/size", "should be greater than or equal to 1 or 'auto', not 0"),
        ({"wait": "soon"}, "/wait", 'should be a number of seconds, or a duration such as PT1H30M, not "soon"'),
        ({"part": 5}, "/part", "should be an object, not 5"),
        ({"part": {"numbers": [1]}}, "/part/pair", "is missing"),
    ],
)
def test_a_reason_has_the_accepted_and_the_received_value(changes: dict[str, Any], pointer: str, reason: str) -> None:
    assert explain(VALID | changes)[pointer] == reason


def test_a_body_that_is_no_object_is_explained() -> None:
    assert explain([1]) == {"": "should be an object, not an array"}


def replace_one(kind: str, field: str, value: Any) -> list[str]:
    """Return the reasons for a spec with one field replaced; empty if it is valid."""
    spec = SPEC_BY_KIND[kind]
    try:
        spec.model_validate({"kind": kind, field: value})
    except ValidationError as error:
        errors: list[ErrorDetails] = error.errors()
        return [reason for _, reason in to_pointers(errors, spec.model_json_schema())]
    return []


@given(st.data())
def test_no_value_of_any_field_of_a_job_shows_internals(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(SPEC_BY_KIND)))
    field = data.draw(st.sampled_from(sorted(SPEC_BY_KIND[kind].model_fields)))
    parts = {"name": data.draw(st.sampled_from(["adam", "step", "affine", "focal", "swa", "top_k", "several"]))}
    value = data.draw(
        JSON_VALUES | JSON_VALUES.map(lambda inner: parts | {"lr": inner, "scale": inner, "parts": inner})
    )
    for reason in replace_one(kind, field, value):
        without_values = re.sub(r'"[^"]*"|\'[^\']*\'', "", reason)
        assert not INTERNALS.search(without_values), reason


@given(JSON_VALUES)
def test_the_summary_of_a_value_has_the_same_short_form(value: Any) -> None:
    assert shorten(summarize_input(value)) == shorten(value)
    assert len(TypeAdapter(Any).dump_json(summarize_input(value))) < 200


@pytest.mark.parametrize(("value", "text"), [(b"a", "binary data"), ({1}, "a value of another type"), ("x" * 99, "…")])
def test_other_values_have_a_short_form(value: object, text: str) -> None:
    assert shorten(value).endswith(text)
