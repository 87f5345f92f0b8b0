"""Builds the error of a resource that others require, which therefore cannot be deleted."""

from collections.abc import Sequence

from core.errors import ResourceInUse

MAX_LISTED = 20


def build_in_use_error(detail: str, dependents: Sequence[str], kind: str) -> ResourceInUse:
    """Return an error that lists the first dependents of a resource, and counts all of them."""
    return ResourceInUse(detail, dependents=list(dependents[:MAX_LISTED]), num_dependents=len(dependents), kind=kind)
