"""What is said across the seam between those who ask and the networks that answer."""

from typing import NamedTuple

from app.inference.types import (
    DEFAULT_LEVEL,
    LIKELIEST,
    NUM_LEVELS,
    Outcome,
    Pixels,
    Scores,
    View,
    key_of,
    late,
    with_class,
)

__all__ = [
    "DEFAULT_LEVEL",
    "LIKELIEST",
    "NUM_LEVELS",
    "BundleRef",
    "Outcome",
    "Pixels",
    "Scores",
    "View",
    "late",
    "with_class",
]


class BundleRef(NamedTuple):
    """A bundle in the store: its folder, the sha256 of each of its files, the model's name and version for people."""

    key: str
    files: tuple[tuple[str, str], ...]
    model: str
    version: str = ""

    def seen_as(self, view: View) -> "BundleRef":
        """The same network, asked for something else than its scores."""
        return self._replace(key=key_of(self.key, view))
