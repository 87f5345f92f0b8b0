"""Checks the shape of nested JSON arrays, and raises errors that point to the invalid value."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from core.errors import InvalidSpec
from core.spec.error_pointers import build_pointer
from core.spec.error_reasons import shorten

JsonPath = tuple[str | int, ...]


def raise_invalid_value(path: JsonPath, reason: str) -> NoReturn:
    """Raise the error for an invalid value.

    Raises:
        InvalidSpec: always, with the value's JSON pointer.
    """
    pointer = build_pointer(path)
    raise InvalidSpec(f"{pointer}: {reason}", errors=[(pointer, reason)])


def infer_shape(values: Sequence[Any], path: JsonPath, max_depth: int) -> tuple[int, ...]:
    """Infer the shape from the first element at each nesting level. `iterate_rows` checks the other elements.

    Raises:
        InvalidSpec: an array is empty, or nested deeper than `max_depth`.
    """
    shape: list[int] = []
    at, value = path, values
    while isinstance(value, list):
        if not value:
            raise_invalid_value(at, "is empty; it must have at least one value")
        if len(shape) == max_depth:
            raise_invalid_value(path, f"is nested deeper than {max_depth} levels")
        shape.append(len(value))
        at, value = (*at, 0), value[0]
    return tuple(shape)


def iterate_rows(values: Any, shape: Sequence[int], path: JsonPath) -> Iterator[tuple[JsonPath, list[Any]]]:  # noqa: ANN401 - any JSON value
    """Yield the path and the values of every innermost array.

    Raises:
        InvalidSpec: an element is not an array, or its length does not match `shape`.
    """
    if not isinstance(values, list):
        raise_invalid_value(
            path, f"must be an array of {shape[0]} values like {_get_first_pointer(path)}, got {shorten(values)}"
        )
    if len(values) != shape[0]:
        raise_invalid_value(
            path, f"has {len(values)} values, but {_get_first_pointer(path)} has {shape[0]}; lengths must be equal"
        )
    if len(shape) == 1:
        yield path, values
    else:
        for index, member in enumerate(values):
            yield from iterate_rows(member, shape[1:], (*path, index))


def _get_first_pointer(path: JsonPath) -> str:
    return build_pointer([path[0], *(0 for _ in path[1:])])
