"""Collects the errors and warnings of validation rules, and raises InvalidSpec."""

from collections.abc import Iterable, Sequence
from typing import NoReturn

from core.errors import InvalidSpec


class ValidationReport:
    """Collects the errors and warnings of a spec. An error is a pair of a JSON pointer and a reason."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def add(self, pointer: str, reason: str) -> None:
        """Add an error."""
        self.errors.append((pointer, reason))

    def extend(self, errors: Iterable[tuple[str, str]], prefix: str = "") -> None:
        """Add several errors, with `prefix` before each of their JSON pointers."""
        self.errors += [(prefix + pointer, reason) for pointer, reason in errors]

    def warn(self, warning: str) -> None:
        """Add a warning. Warnings are stored with the job."""
        self.warnings.append(warning)

    def raise_if_invalid(self) -> None:
        """Raise InvalidSpec if there is an error.

        Raises:
            InvalidSpec: the report has errors; the exception contains all of them.
        """
        if self.errors:
            reject_all(self.errors)


def reject(pointer: str, reason: str) -> NoReturn:
    """Raise InvalidSpec with a single error."""
    reject_all([(pointer, reason)])


def reject_all(errors: Sequence[tuple[str, str]]) -> NoReturn:
    """Raise InvalidSpec with all errors. The first error is also the detail of the problem response."""
    pointer, reason = errors[0]
    raise InvalidSpec(f"{pointer}: {reason}", errors=list(errors)) from None
