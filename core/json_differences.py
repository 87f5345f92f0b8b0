"""Finds the fields in which JSON documents differ, such as the specs of jobs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from core.spec.error_pointers import build_pointer


class SpecDifference(NamedTuple):
    """A field that differs: its JSON pointer, and its value in each job that has it."""

    pointer: str
    values: dict[str, Any]


def find_differences(specs: Mapping[str, Any]) -> list[SpecDifference]:
    """Return the fields of JSON documents that differ or that some documents lack, in the order of the first document.

    Items of arrays are compared by their index.
    """
    values: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for job_id, spec in specs.items():
        for path, value in _iterate_leaves(spec, ()):
            values.setdefault(path, {})[job_id] = value
    return [
        SpecDifference(build_pointer(path), by_job)
        for path, by_job in values.items()
        if len(by_job) < len(specs) or not _are_equal(list(by_job.values()))
    ]


def _iterate_leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401
    """Yield the path and the value of every number, string, boolean and null, and of empty objects and arrays."""
    if isinstance(value, dict | list) and value:
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in members:
            yield from _iterate_leaves(member, (*path, key))
    else:
        yield path, value


def _are_equal(values: Sequence[Any]) -> bool:
    """Return whether all values are equal. In JSON, `true` differs from 1."""
    first = values[0]
    return all(value == first and isinstance(value, bool) == isinstance(first, bool) for value in values)
