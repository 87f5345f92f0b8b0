"""Nested lists as a request carries them: their shape, and refusals that point to where they break it."""

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from core.errors import InvalidSpec
from core.spec.error_pointers import pointer_of, shorten

Path = tuple[str | int, ...]


def refuse(path: Path, why: str) -> NoReturn:
    """Raises InvalidSpec with the pointer of what is wrong."""
    pointer = pointer_of(path)
    raise InvalidSpec(f"{pointer}: {why}", errors=[(pointer, why)])


def shape_of(values: Sequence[Any], path: Path, max_depth: int) -> tuple[int, ...]:
    """The shape, by the first of each level; whether the others are like it is seen by `innermost`.

    Raises:
        InvalidSpec: a list is empty, or they are nested deeper than `max_depth`.
    """
    shape: list[int] = []
    at, value = path, values
    while isinstance(value, list):
        if not value:
            refuse(at, "is empty; at least one value is needed")
        if len(shape) == max_depth:
            refuse(path, f"is nested deeper than {max_depth} levels")
        shape.append(len(value))
        at, value = (*at, 0), value[0]
    return tuple(shape)


def innermost(values: Any, shape: Sequence[int], path: Path) -> Iterator[tuple[Path, list[Any]]]:  # noqa: ANN401 - any JSON value
    """Yield every list of the last level and where it is.

    Raises:
        InvalidSpec: one is longer or shorter than the first, or is none.
    """
    if not isinstance(values, list):
        refuse(path, f"should be an array of {shape[0]} values as {_first(path)} is, not {shorten(values)}")
    if len(values) != shape[0]:
        refuse(path, f"has {len(values)} values, but {_first(path)} has {shape[0]}; all must have as many")
    if len(shape) == 1:
        yield path, values
    else:
        for index, member in enumerate(values):
            yield from innermost(member, shape[1:], (*path, index))


def _first(path: Path) -> str:
    return pointer_of([path[0], *(0 for _ in path[1:])])
