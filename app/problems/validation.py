"""Converts FastAPI's validation errors to pairs of JSON pointer and reason."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from core.spec.error_pointers import MAX_ERRORS, to_pointers
from core.spec.error_reasons import format_reason


class InvalidJson(HTTPException):
    """Raised for JSON that the strict parser rejects, or for an invalid timeout header.

    This is an HTTPException, because FastAPI converts other exceptions that are raised while it reads a body to a 400.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(422, reason)
        self.pointer = pointer


class LimitedValidationError(RequestValidationError):
    """The first `MAX_ERRORS` validation errors of a request, and the number of all errors."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(errors[:MAX_ERRORS])
        self.num_errors = len(errors)


class InvalidBody(LimitedValidationError):
    """Validation errors of a body that an endpoint parses itself.

    The endpoint declares no body field, so FastAPI does not know the schema of the body.

    Args:
        errors: pydantic's errors; locations are relative to the body.
        schema: the JSON Schema of the body.
    """

    def __init__(self, errors: Sequence[Mapping[str, Any]], schema: dict[str, Any]) -> None:
        super().__init__([{**error, "loc": ("body", *error["loc"])} for error in errors[:MAX_ERRORS]])
        self.num_errors = len(errors)
        self.schema = schema

    @classmethod
    def from_model(cls, error: ValidationError, model: type[BaseModel]) -> "InvalidBody":
        """Convert the validation errors of `model`."""
        return cls(error.errors(include_url=False), _build_schema(model))


class ParsedError(NamedTuple):
    """The problem for a validation error. `errors` are pairs of JSON pointer and reason, `num_errors` counts all."""

    status: int
    slug: str
    title: str
    detail: str
    errors: list[tuple[str, str]]
    num_errors: int = 0


def parse_validation_error(request: Request, error: RequestValidationError) -> ParsedError:
    """Return the problem for a validation error. Only the first `MAX_ERRORS` errors are explained."""
    entries = error.errors()
    num_errors = error.num_errors if isinstance(error, LimitedValidationError) else len(entries)
    entries = entries[:MAX_ERRORS]
    if any(entry["type"] == "json_invalid" for entry in entries):
        return ParsedError(400, "malformed-request", "Malformed request", "The body is not valid JSON.", [])
    body = [{**entry, "loc": entry["loc"][1:]} for entry in entries if entry["loc"][0] == "body"]
    schema = error.schema if isinstance(error, InvalidBody) else _get_body_schema(request)
    errors = to_pointers(body, schema)
    errors += [
        (_format_parameter(entry["loc"]), format_reason(entry)) for entry in entries if entry["loc"][0] != "body"
    ]
    num_errors = len(errors) if num_errors == len(entries) else num_errors  # equal errors are listed once
    return ParsedError(
        422, "invalid-request", "Invalid request", _format_detail(errors, num_errors), errors, num_errors
    )


def _format_detail(errors: list[tuple[str, str]], num_errors: int) -> str:
    pointer, reason = errors[0]
    more = f" (and {num_errors - 1} more)" if num_errors > 1 else ""
    return f"{pointer or 'The body'}: {reason}{more}"


def _format_parameter(loc: tuple[Any, ...]) -> str:
    """Return `?name` for a query parameter, `{name}` for a path parameter and `name:` for a header."""
    source, name = str(loc[0]), ".".join(str(part) for part in loc[1:2])
    return {"query": f"?{name}", "path": f"{{{name}}}"}.get(source, f"{name}:")


def _get_body_schema(request: Request) -> dict[str, Any]:
    """Return the JSON Schema of the body of the matched route, or an empty object if it declares no body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return _build_schema(field.field_info.annotation) if field is not None else {}


@lru_cache(maxsize=64)
def _build_schema(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - any type
    return TypeAdapter(annotation).json_schema(mode="validation")
