"""What is said across the seam between those who ask and the networks that answer."""

from typing import NamedTuple

from app.inference.types import (
    DEFAULT_LEVEL,
    NUM_LEVELS,
    TOP_CLASS,
    Outcome,
    Pixels,
    Scores,
    View,
    deadline_exceeded,
    key_of,
    with_class,
)

__all__ = [
    "DEFAULT_LEVEL",
    "NUM_LEVELS",
    "TOP_CLASS",
    "BundleRef",
    "Outcome",
    "Pixels",
    "Scores",
    "View",
    "deadline_exceeded",
    "with_class",
]


class BundleRef(NamedTuple):
    """A bundle in the store: its folder, the sha256 of each of its files, the model's name and version for people."""

    key: str
    files: tuple[tuple[str, str], ...]
    model: str
    version: str = ""

    def with_output(self, view: View) -> "BundleRef":
        """The same network, asked for something else than its scores."""
        return self._replace(key=key_of(self.key, view))
