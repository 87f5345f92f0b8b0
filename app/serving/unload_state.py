"""Stores the models that clients unloaded by name. Such a model stays unloaded until a client loads it by name."""

from pathlib import Path
from typing import Protocol


class UnloadedModels(Protocol):
    """The names of the unloaded models, as a set."""

    def add(self, model: str) -> None:
        """Mark a model as unloaded."""

    def discard(self, model: str) -> None:
        """Mark a model as no longer unloaded."""

    def __contains__(self, model: str, /) -> bool:
        """Return whether a model is marked as unloaded."""


class UnloadedFiles:
    """Stores one empty file per unloaded model, so that the API processes of a machine share the state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, model: str) -> None:
        """Mark a model as unloaded."""
        (self._folder / model).touch()

    def discard(self, model: str) -> None:
        """Mark a model as no longer unloaded."""
        (self._folder / model).unlink(missing_ok=True)

    def __contains__(self, model: str, /) -> bool:
        """Return whether a model is marked as unloaded."""
        return (self._folder / model).exists()
