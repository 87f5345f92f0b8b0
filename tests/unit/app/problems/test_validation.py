"""Validation errors as problems."""

from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.problems.validation import InvalidBody, parse_validation_error
from core.spec import error_pointers

REQUEST = Request({"type": "http", "path": "/", "headers": []})


class Point(BaseModel, extra="forbid"):
    x: int


def test_errors_of_a_body_have_json_pointers() -> None:
    with pytest.raises(ValidationError) as raised:
        Point.model_validate({"x": "one", "y": 2})
    parsed = parse_validation_error(REQUEST, InvalidBody.from_model(raised.value, Point))
    assert (parsed.status, parsed.slug) == (422, "invalid-request")
    assert [pointer for pointer, _ in parsed.errors] == ["/x", "/y"]
    assert "unknown field 'y'" in parsed.errors[1][1]
    assert parsed.detail.endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("loc", "pointer"),
    [(("query", "limit"), "?limit"), (("path", "job_id"), "{job_id}"), (("header", "etag"), "etag:")],
)
def test_parameters_have_their_own_notation(loc: tuple[str, ...], pointer: str) -> None:
    parsed = parse_validation_error(REQUEST, RequestValidationError([{"type": "x", "loc": loc, "msg": "must be 1"}]))
    assert parsed.errors == [(pointer, "must be 1")]
    assert parsed.detail == f"{pointer}: must be 1"


def test_a_body_that_is_not_json_is_a_400() -> None:
    error = RequestValidationError([{"type": "json_invalid", "loc": ("body", 0), "msg": "?"}])
    assert parse_validation_error(REQUEST, error)[:2] == (400, "malformed-request")


def test_errors_after_the_first_100_are_counted_but_not_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    explained, build_reason = list[str](), error_pointers._build_reason

    def record(error: Any, *arguments: Any) -> str:
        explained.append(error["type"])
        return build_reason(error, *arguments)

    monkeypatch.setattr(error_pointers, "_build_reason", record)
    with pytest.raises(ValidationError) as raised:
        Point.model_validate({"x": 1} | {f"y{index}": 1 for index in range(5000)})
    error = InvalidBody.from_model(raised.value, Point)
    assert len(error.errors()) == 100
    parsed = parse_validation_error(REQUEST, error)
    assert (len(parsed.errors), parsed.num_errors, len(explained)) == (100, 5000, 100)
    assert parsed.detail.endswith("(and 4999 more)")
