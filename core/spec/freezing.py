"""Selects the parameters that the patterns of a job's `freeze` match."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

EXCLUDE = "!"


def match_frozen_parameters(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names of the parameters that the patterns freeze. The last pattern that matches a name decides."""

    def is_frozen(name: str) -> bool:
        matching = (pattern for pattern in reversed(patterns) if fnmatchcase(name, pattern.removeprefix(EXCLUDE)))
        return not next(matching, EXCLUDE).startswith(EXCLUDE)

    return [name for name in names if is_frozen(name)]
