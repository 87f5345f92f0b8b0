"""Types of model serving: the reference to a bundle, and the types shared with the inference process."""

from typing import NamedTuple

from app.inference.types import (
    DEFAULT_PRIORITY,
    NUM_PRIORITIES,
    TOP_CLASS,
    Outcome,
    OutputKind,
    Pixels,
    Scores,
    make_deadline_error,
)

__all__ = [
    "DEFAULT_PRIORITY",
    "NUM_PRIORITIES",
    "TOP_CLASS",
    "BundleRef",
    "CacheKey",
    "Outcome",
    "OutputKind",
    "Pixels",
    "Scores",
    "make_deadline_error",
]

CacheKey = tuple[str, OutputKind]
"""Identifies a loaded model: the key of its bundle, and its kind of output."""


class BundleRef(NamedTuple):
    """A bundle in the store and the output to compute with it.

    Attributes:
        key: folder of the bundle in the store.
        files: name and sha256 of each file.
        model: the model's name, for messages and metrics.
        version: the model's version, for messages and metrics.
        output: kind of output to compute.
    """

    key: str
    files: tuple[tuple[str, str], ...]
    model: str
    version: str = ""
    output: OutputKind = "scores"

    @property
    def cache_key(self) -> CacheKey:
        """The key of the model in the cache of loaded models."""
        return self.key, self.output

    def with_output(self, output: OutputKind) -> "BundleRef":
        """Return the reference for another output of the same bundle."""
        return self._replace(output=output)
