"""Nested lists as a request carries them: their shape, and refusals that point to where they break it."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from core.errors import InvalidSpec
from core.spec.error_pointers import pointer_of, shorten

JsonPath = tuple[str | int, ...]


def raise_invalid_value(path: JsonPath, reason: str) -> NoReturn:
    """Raises InvalidSpec with the pointer of what is wrong."""
    pointer = pointer_of(path)
    raise InvalidSpec(f"{pointer}: {reason}", errors=[(pointer, reason)])


def infer_shape(values: Sequence[Any], path: JsonPath, max_depth: int) -> tuple[int, ...]:
    """The shape, by the first of each level; whether the others are like it is seen by `innermost`.

    Raises:
        InvalidSpec: a list is empty, or they are nested deeper than `max_depth`.
    """
    shape: list[int] = []
    at, value = path, values
    while isinstance(value, list):
        if not value:
            raise_invalid_value(at, "is empty; at least one value is needed")
        if len(shape) == max_depth:
            raise_invalid_value(path, f"is nested deeper than {max_depth} levels")
        shape.append(len(value))
        at, value = (*at, 0), value[0]
    return tuple(shape)


def iterate_rows(values: Any, shape: Sequence[int], path: JsonPath) -> Iterator[tuple[JsonPath, list[Any]]]:  # noqa: ANN401 - any JSON value
    """Yield every list of the last level and where it is.

    Raises:
        InvalidSpec: one is longer or shorter than the first, or is none.
    """
    if not isinstance(values, list):
        raise_invalid_value(
            path, f"should be an array of {shape[0]} values as {_get_first_pointer(path)} is, not {shorten(values)}"
        )
    if len(values) != shape[0]:
        raise_invalid_value(
            path, f"has {len(values)} values, but {_get_first_pointer(path)} has {shape[0]}; all must have as many"
        )
    if len(shape) == 1:
        yield path, values
    else:
        for index, member in enumerate(values):
            yield from iterate_rows(member, shape[1:], (*path, index))


def _get_first_pointer(path: JsonPath) -> str:
    return pointer_of([path[0], *(0 for _ in path[1:])])
