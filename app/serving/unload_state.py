"""The models that somebody unloaded by name: they stay so until they are loaded by name."""

from pathlib import Path
from typing import Protocol


class UnloadedModels(Protocol):
    def add(self, model: str) -> None: ...
    def discard(self, model: str) -> None: ...
    def __contains__(self, model: str, /) -> bool: ...


class UnloadedFiles:
    """An empty file a model, for several HTTP processes of one machine; models' names are names of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, model: str) -> None:
        (self._folder / model).touch()

    def discard(self, model: str) -> None:
        (self._folder / model).unlink(missing_ok=True)

    def __contains__(self, model: str, /) -> bool:
        return (self._folder / model).exists()
