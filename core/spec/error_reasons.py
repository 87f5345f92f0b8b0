"""Explains validation errors in JSON's terms: array, object, string, number, integer, boolean and null.

The table has a reason for every error of pydantic, so that no message of the library reaches a client.
"""

import json
import re
from collections.abc import Mapping, Sequence, Sized
from typing import Any

from core.spec.patterns import describe_pattern

MAX_VALUE_LENGTH = 40
MAX_EXPECTED_LENGTH = 1000
ARRAY, OBJECT, STRING = "should be an array", "should be an object", "should be a string"
NUMBER, INTEGER, BOOLEAN = "should be a number", "should be an integer", "should be true or false"
DATE, TIME = "should be a date such as 2026-01-31", "should be a time such as 23:59:00"
DATETIME = "should be a time such as 2026-01-31T23:59:00Z"
DURATION = "should be a number of seconds, or a duration such as PT1H30M"
UUID, URL = (
    "should be a UUID such as 123e4567-e89b-12d3-a456-426614174000",
    "should be a URL such as https://example.org",
)
INVALID = "is not accepted here"
REASONS: dict[str, str] = {
    "arguments_type": "should be an array or an object",
    "assertion_error": "{error}",
    "bool_parsing": BOOLEAN,
    "bool_type": BOOLEAN,
    "bytes_invalid_encoding": "should be a string in {encoding}",
    "bytes_too_long": "should have at most {max_length} bytes",
    "bytes_too_short": "should have at least {min_length} bytes",
    "bytes_type": STRING,
    "callable_type": INVALID,
    "complex_str_parsing": NUMBER,
    "complex_type": NUMBER,
    "counter_type": OBJECT,
    "dataclass_exact_type": OBJECT,
    "dataclass_type": OBJECT,
    "date_from_datetime_inexact": f"{DATE}, without a time of day",
    "date_from_datetime_parsing": DATE,
    "date_future": "should be a date in the future",
    "date_parsing": DATE,
    "date_past": "should be a date in the past",
    "date_type": DATE,
    "datetime_from_date_parsing": DATETIME,
    "datetime_future": "should be a time in the future",
    "datetime_object_invalid": DATETIME,
    "datetime_parsing": DATETIME,
    "datetime_past": "should be a time in the past",
    "datetime_type": DATETIME,
    "decimal_max_digits": "should be a number of at most {max_digits} digits",
    "decimal_max_places": "should be a number with at most {decimal_places} digits after the decimal point",
    "decimal_parsing": NUMBER,
    "decimal_type": NUMBER,
    "decimal_whole_digits": "should be a number with at most {whole_digits} digits before the decimal point",
    "default_factory_not_called": "has no default, because another field is invalid",
    "deque_type": ARRAY,
    "dict_type": OBJECT,
    "ellipsis_error": INVALID,
    "enum": "should be {expected}",
    "extra_forbidden": "is an unknown field",
    "finite_number": "should be a finite number",
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "fraction_parsing": NUMBER,
    "fraction_type": NUMBER,
    "frozen_dict_type": OBJECT,
    "frozen_field": "cannot be changed",
    "frozen_instance": "cannot be changed",
    "frozen_set_type": ARRAY,
    "get_attribute_error": INVALID,
    "greater_than": "should be greater than {gt}",
    "greater_than_equal": "should be greater than or equal to {ge}",
    "int_from_float": "should be an integer, without a fraction",
    "int_parsing": INTEGER,
    "int_parsing_size": "should be an integer of fewer digits",
    "int_type": INTEGER,
    "invalid_key": "should have strings as keys",
    "is_instance_of": INVALID,
    "is_subclass_of": INVALID,
    "iterable_type": ARRAY,
    "iteration_error": ARRAY,
    "json_invalid": "should be valid JSON",
    "json_type": "should be a string that contains JSON",
    "less_than": "should be less than {lt}",
    "less_than_equal": "should be less than or equal to {le}",
    "list_type": ARRAY,
    "literal_error": "should be {expected}",
    "mapping_type": OBJECT,
    "missing": "is missing",
    "missing_argument": "is missing",
    "missing_keyword_only_argument": "is missing",
    "missing_positional_only_argument": "is missing",
    "missing_sentinel_error": "should be left out",
    "model_attributes_type": OBJECT,
    "model_type": OBJECT,
    "multiple_argument_values": "is given twice",
    "multiple_of": "should be a multiple of {multiple_of}",
    "named_tuple_type": "should be an array or an object",
    "needs_python_object": INVALID,
    "no_such_attribute": "has no field {attribute}",
    "none_required": "should be null",
    "ordered_dict_type": OBJECT,
    "recursion_depth_exceeded": "has too many nested levels",
    "recursion_loop": "contains itself",
    "set_item_not_hashable": "should have only strings, numbers, booleans and null as items",
    "set_type": ARRAY,
    "string_not_ascii": "should have only ASCII characters",
    "string_pattern_mismatch": "should be {pattern}",
    "string_too_long": "should have at most {max_length} characters",
    "string_too_short": "should have at least {min_length} characters",
    "string_type": STRING,
    "string_unicode": "should be a string in UTF-8",
    "time_delta_parsing": DURATION,
    "time_delta_type": DURATION,
    "time_parsing": TIME,
    "time_type": TIME,
    "timezone_aware": "should have a time zone, such as Z",
    "timezone_naive": "should have no time zone",
    "timezone_offset": "should have a time zone {tz_expected} s from UTC",
    "too_long": "should have at most {max_length} {items}, not {actual_length}",
    "too_short": "should have at least {min_length} {items}, not {actual_length}",
    "tuple_type": ARRAY,
    "unexpected_keyword_argument": "is an unknown field",
    "unexpected_positional_argument": "has too many items",
    "union_tag_invalid": "should have the {discriminator} {expected_tags}",
    "union_tag_not_found": "must have a field {discriminator}",
    "url_parsing": URL,
    "url_scheme": "should be a URL that starts with {expected_schemes}",
    "url_syntax_violation": URL,
    "url_too_long": "should have at most {max_length} characters",
    "url_type": URL,
    "uuid_parsing": UUID,
    "uuid_type": UUID,
    "uuid_version": "should be a UUID of version {expected_version}",
    "value_error": "{error}",
}
"""The reason of every error type of pydantic, with the fields of its context."""
_WITHOUT_VALUE = frozenset({"assertion_error", "extra_forbidden", "missing", "too_long", "too_short", "value_error"})
_PYTHON_LITERALS = {"None": "null", "True": "true", "False": "false"}
_QUOTED_OR_WORD = re.compile(r"'[^']*'|\b(?:None|True|False)\b")
_PREFIXES = ("Value error, ", "Assertion failed, ", "Input ")


def format_reason(error: Mapping[str, Any]) -> str:
    """Format a validation error with the accepted and the received value: `should be greater than 0, not -1`.

    The message of an error of another type is that of our own code, and stays as it is.
    """
    kind, context = str(error["type"]), dict(error.get("ctx") or {})
    reason = _fill_reason(kind, context, error)
    return f"{reason}, not {shorten(error['input'])}" if "input" in error and kind not in _WITHOUT_VALUE else reason


def _fill_reason(kind: str, context: dict[str, Any], error: Mapping[str, Any]) -> str:
    message = str(error.get("msg", INVALID))
    own = next((message.removeprefix(prefix) for prefix in _PREFIXES if message.startswith(prefix)), message)
    template = REASONS.get(kind)
    if template is None or (kind in ("value_error", "assertion_error") and context.get("error") is None):
        return own
    if "pattern" in context:
        context["pattern"] = describe_pattern(str(context["pattern"]))
    if "expected" in context:
        context["expected"] = _translate_values(str(context["expected"]))
    if kind in ("too_long", "too_short"):
        if "field_type" not in context:  # our own error, which has a complete message
            return own
        context["items"] = "fields" if context["field_type"] in ("Dictionary", "Frozendict") else "items"
        if context.get("actual_length") is None:
            context["actual_length"] = len(error["input"]) if isinstance(error.get("input"), Sized) else "more"
    try:
        return _use_singular(template.format_map(context))
    except KeyError:  # an error of our own code that has this type, but no context
        return own


def _translate_values(expected: str) -> str:
    """Write the values of Python as JSON: `null`, `true` and `false`. Quoted words stay as they are."""
    text = _QUOTED_OR_WORD.sub(lambda match: _PYTHON_LITERALS.get(match[0], match[0]), expected)
    return text if len(text) <= MAX_EXPECTED_LENGTH else f"{text[:MAX_EXPECTED_LENGTH]}…"


def _use_singular(reason: str) -> str:
    return re.sub(r"\b1 (item|field|character|byte|digit)s\b", r"1 \1", reason)


def shorten(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Format a value as short ASCII JSON. Arrays and objects are replaced by the names of their types."""
    match value:
        case Mapping():
            return "an object"
        case str() if len(value) > MAX_VALUE_LENGTH:
            return f"{json.dumps(value[:MAX_VALUE_LENGTH])}…"
        case int() if abs(value) >= 10**MAX_VALUE_LENGTH:
            return f"a number of more than {MAX_VALUE_LENGTH} digits"
        case str() | int() | float() | None:
            return json.dumps(value)
        case bytes() | bytearray():
            return "binary data"
        case Sequence():
            return "an array"
        case _:
            return "a value of another type"


def summarize_input(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value with the same short form as `value`, but without its content. It fits into a message."""
    match value:
        case Mapping():
            return {}
        case str():
            return value[: MAX_VALUE_LENGTH + 1]
        case int() | float() | None:
            return value
        case _:
            return []
