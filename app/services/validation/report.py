"""The report that validation rules write to; the only place that raises InvalidSpec for a spec."""

from collections.abc import Iterable, Sequence
from typing import NoReturn

from core.errors import InvalidSpec


class ValidationReport:
    """Errors of a spec as pairs of a JSON pointer and a reason, and warnings as texts."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def add(self, pointer: str, reason: str) -> None:
        """Add an error."""
        self.errors.append((pointer, reason))

    def extend(self, errors: Iterable[tuple[str, str]], prefix: str = "") -> None:
        """Add several errors whose pointers continue `prefix`."""
        self.errors += [(prefix + pointer, reason) for pointer, reason in errors]

    def warn(self, warning: str) -> None:
        """Add a warning, which the job shows."""
        self.warnings.append(warning)

    def raise_if_invalid(self) -> None:
        """Raise InvalidSpec if there is an error.

        Raises:
            InvalidSpec: with all errors.
        """
        if self.errors:
            reject_all(self.errors)


def reject(pointer: str, reason: str) -> NoReturn:
    """Raise InvalidSpec for one error that leaves nothing else to check."""
    reject_all([(pointer, reason)])


def reject_all(errors: Sequence[tuple[str, str]]) -> NoReturn:
    """Raise InvalidSpec for errors; the first one is the detail of the problem."""
    pointer, reason = errors[0]
    raise InvalidSpec(f"{pointer}: {reason}", errors=list(errors)) from None
