"""What a client can do with the registry: look, download, move aliases."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.models import ModelRepo
from core.db.tables import ModelVersionRow
from core.storage import Storage

FILES = ("weights.safetensors", "bundle.json")


class ModelView(NamedTuple):
    """A model: its versions, newest first, and its aliases."""

    name: str
    versions: Sequence[ModelVersionRow]
    aliases: dict[str, int]


class ModelService:
    def __init__(self, session: Session, storage: Storage) -> None:
        self._models = ModelRepo(session)
        self._storage = storage

    def page(self, *, after: str | None, limit: int) -> tuple[list[ModelView], str | None]:
        """Models in alphabetical order."""
        names, next_after = self._models.names(after=after, limit=limit)
        return [self.show(name) for name in names], next_after

    def show(self, name: str) -> ModelView:
        return ModelView(name, self._models.versions(name), self._models.aliases(name))

    def version(self, name: str, version: int) -> ModelVersionRow:
        return self._models.get(name, version)

    def aliases_of(self, row: ModelVersionRow) -> list[str]:
        """The aliases that stand for a version."""
        return sorted(alias for alias, version in self._models.aliases(row.name).items() if version == row.version)

    def bundle(self, name: str, version: int) -> list[Path]:
        """The files of a version's bundle.

        Raises:
            Corrupt: one of them is not what was stored.
        """
        row = self._models.get(name, version)
        folder = self._storage.fetch(row.key, {file: row.files[file]["sha256"] for file in FILES})
        return [folder / file for file in FILES]

    def set_alias(self, name: str, alias: str, version: int) -> ModelView:
        """Let `name@alias` stand for a version; predictions that are under way keep the one they began with."""
        self._models.set_alias(name, alias, version)
        return self.show(name)
