"""Replaces the characters in a trainer's JSON values that PostgreSQL cannot store."""

from typing import Any


def strip_unstorable(value: Any) -> Any:  # noqa: ANN401 - accepts and returns any JSON value
    """Replace null characters and lone surrogates, which PostgreSQL cannot store, in all strings of a JSON value."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        case dict():
            return {strip_unstorable(key): strip_unstorable(item) for key, item in value.items()}
        case list() | tuple():
            return [strip_unstorable(item) for item in value]
        case _:
            return value
