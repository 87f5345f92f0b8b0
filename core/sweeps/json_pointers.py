"""Reads and sets values in a JSON document by JSON pointers (RFC 6901)."""

from typing import Any

POINTER = r"^(/([^/~]|~[01])*)+$"
MAX_ARRAY_DIGITS = 6


class UnknownPointer(LookupError):
    """The document has no value at the pointer, or no object or array that could contain one."""


def split_pointer(pointer: str) -> list[str]:
    """Return the reference tokens of a pointer."""
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def is_inside(pointer: str, parent: str) -> bool:
    """Return whether a pointer refers to a value inside of the value at another pointer."""
    return pointer.startswith(f"{parent}/")


def get_value(document: Any, pointer: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at a pointer.

    Raises:
        UnknownPointer: the document has no such value.
    """
    for token in split_pointer(pointer):
        document = _get_child(document, token)
    return document


def set_value(document: Any, pointer: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of the document with another value at a pointer. Parts that do not change are shared.

    A new field can be added to an object. An array keeps its length.

    Raises:
        UnknownPointer: no object or array of the document can have a value at the pointer.
    """
    return _set_tokens(document, split_pointer(pointer), value)


def _set_tokens(document: Any, tokens: list[str], value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if not tokens:
        return value
    token, *others = tokens
    if isinstance(document, dict):
        child = None if not others else _get_child(document, token)
        return {**document, token: _set_tokens(child, others, value)}
    child = _get_child(document, token)
    index = int(token)
    return [*document[:index], _set_tokens(child, others, value), *document[index + 1 :]]


def _get_child(document: Any, token: str) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(document, dict) and token in document:
        return document[token]
    is_index = token.isascii() and token.isdigit() and len(token) <= MAX_ARRAY_DIGITS and str(int(token)) == token
    if isinstance(document, list) and is_index and int(token) < len(document):
        return document[int(token)]
    raise UnknownPointer(token)
