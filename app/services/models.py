"""What a client can do with the registry: look, download, move aliases."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import on_commit
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.errors import InvalidSpec
from core.spec import SERVED_VARIANTS, VariantFormat
from core.storage import Storage

BUNDLE_FILES = ("weights.safetensors", "bundle.json")


class ModelView(NamedTuple):
    """A model: its versions, newest first, and its aliases."""

    name: str
    versions: Sequence[ModelVersionRow]
    aliases: dict[str, int]
    alias_variants: dict[str, str]


class ModelService:
    def __init__(
        self, session: Session, storage: Storage, *, on_alias_changed: Callable[[str], None] = lambda _: None
    ) -> None:
        """`moved` hears, after the commit, of a model whose aliases have changed."""
        self._session = session
        self._on_alias_changed = on_alias_changed
        self._models = ModelRepo(session)
        self._variants = VariantRepo(session)
        self._storage = storage

    def list_models(self, *, after: str | None, limit: int) -> tuple[list[ModelView], str | None]:
        """Models in alphabetical order."""
        names, next_after = self._models.names(after=after, limit=limit)
        return [self.get_model(name) for name in names], next_after

    def get_model(self, name: str) -> ModelView:
        return ModelView(
            name, self._models.versions(name), self._models.aliases(name), self._models.alias_variants(name)
        )

    def get_version(self, name: str, version: int) -> ModelVersionRow:
        return self._models.get(name, version)

    def list_version_aliases(self, row: ModelVersionRow) -> list[str]:
        """The aliases that stand for a version."""
        return sorted(alias for alias, version in self._models.aliases(row.name).items() if version == row.version)

    def list_version_variants(self, row: ModelVersionRow) -> list[ModelVariantRow]:
        """The other forms of a version that there are."""
        return self._variants.all(row.name, row.version)

    def fetch_bundle(self, name: str, version: int) -> list[Path]:
        """The files of a version's bundle.

        Raises:
            Corrupt: one of them is not what was stored.
        """
        row = self._models.get(name, version)
        folder = self._storage.fetch(row.key, {file: row.files[file]["sha256"] for file in BUNDLE_FILES})
        return [folder / file for file in BUNDLE_FILES]

    def set_alias(self, name: str, alias: str, version: int, variant: VariantFormat | None = None) -> ModelView:
        """Let `name@alias` stand for a version, or for a variant of it.

        Predictions that are under way keep the one they began with.

        Raises:
            NotFound: there is no such version, or it has no such variant.
            InvalidSpec: the variant is for download, or the alias would hide a number or `latest`.
        """
        if variant is not None:
            self._models.get(name, version)
            self._variants.get(name, version, variant)
            if variant not in SERVED_VARIANTS:
                reason = f"{variant} is for download; served are {', '.join(SERVED_VARIANTS)}"
                raise InvalidSpec(f"/variant: {reason}", errors=[("/variant", reason)])
        self._models.set_alias(name, alias, version, variant)
        on_commit(self._session, lambda: self._on_alias_changed(name))
        return self.get_model(name)
