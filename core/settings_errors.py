"""Formats the errors of settings: the variable, its value, and what is accepted."""

import types
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from core.settings import Settings, get_variable_name

_NUMBERS: dict[Any, str] = {int: "an integer", float: "a finite number"}
_FORMATS = {"umask": "must be an octal number from 000 to 077"}
MAX_VALUE_LENGTH = 60


def format_validation_error(error: ValidationError) -> str:
    """Format all invalid settings as one line with their variable names. Omit values that may contain secrets."""
    return "; ".join(_format_error(item) for item in error.errors(include_url=False))


def describe_accepted_values(field_name: str) -> str:
    """Return what a setting accepts, such as `must be an integer from 0 to 65535`. Empty: its validator says it."""
    field = Settings.model_fields[field_name]
    kind = _unwrap_optional(field.annotation)
    if get_origin(kind) is Literal:
        return f"must be one of {', '.join(map(str, get_args(kind)))}"
    if kind in _NUMBERS:
        return f"must be {_NUMBERS[kind]}{_describe_range(kind, field.metadata)}"
    return _FORMATS.get(field_name, "")


def _format_error(item: ErrorDetails) -> str:
    field_name = str(item["loc"][0])
    reason = item["msg"].removeprefix("Value error, ")
    default = ""
    if item["type"] != "value_error" and (accepted := describe_accepted_values(field_name)):
        reason = accepted
        default = _describe_default(field_name)
    return f"{get_variable_name(field_name)}{_format_value(item['input'])}: {reason}{default}"


def _describe_range(kind: type, constraints: list[Any]) -> str:
    bounds: dict[str, float] = {
        name: getattr(item, name)
        for item in constraints
        for bound, name in ((annotated_types.Gt, "gt"), (annotated_types.Ge, "ge"), (annotated_types.Le, "le"))
        if isinstance(item, bound)
    }
    above, low, high = bounds.get("gt"), bounds.get("ge"), bounds.get("le")
    if kind is int and above is not None:
        low = above + 1
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    parts = [*([f"greater than {above}"] if above is not None else []), *([f"at most {high}"] if high else [])]
    return " " + " and ".join(parts) if parts else ""


def _describe_default(field_name: str) -> str:
    default = Settings.model_fields[field_name].default
    return "" if default in (None, "", (), PydanticUndefined) else f" (default: {default})"


def _unwrap_optional(kind: Any) -> Any:  # noqa: ANN401 - a type
    if get_origin(kind) in {Union, types.UnionType}:
        return next(part for part in get_args(kind) if part is not type(None))
    return kind


def _format_value(value: object) -> str:
    is_harmless = isinstance(value, str) and "@" not in value and "://" not in value
    if not is_harmless:
        return ""
    return f"={value!r}" if len(str(value)) <= MAX_VALUE_LENGTH else f"={str(value)[:MAX_VALUE_LENGTH]!r}…"
