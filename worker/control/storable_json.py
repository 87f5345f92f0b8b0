"""Makes JSON from a trainer storable in PostgreSQL."""

from typing import Any


def strip_unstorable(value: Any) -> Any:  # noqa: ANN401 - any JSON value in, the same kind out
    """Replace what PostgreSQL cannot store: zero characters and lone surrogates."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        case dict():
            return {strip_unstorable(key): strip_unstorable(item) for key, item in value.items()}
        case list() | tuple():
            return [strip_unstorable(item) for item in value]
        case _:
            return value
