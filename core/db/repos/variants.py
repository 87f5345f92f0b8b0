"""Queries for the variants of model versions."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.transitions import lock_job_for_attempt
from core.db.tables import ModelAliasRow, ModelVariantRow, ModelVersionRow
from core.errors import NotFound, ResourceInUse


class VariantRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, variant: ModelVariantRow, token: int) -> None:
        """Store a variant and replace an older one of its format. Do nothing if its version was deleted.

        Raises:
            LostLease: the attempt with that token does not hold the job.
        """
        lock_job_for_attempt(self._session, variant.job_id, token)
        if self._session.get(ModelVersionRow, (variant.name, variant.version)) is not None:
            variant.created_at = now(self._session)
            self._session.merge(variant)
            self._session.flush()

    def list_variants(self, name: str, version: int) -> list[ModelVariantRow]:
        """List the variants of a version by format."""
        of_version = (ModelVariantRow.name == name, ModelVariantRow.version == version)
        return list(self._session.scalars(select(ModelVariantRow).where(*of_version).order_by(ModelVariantRow.format)))

    def get(self, name: str, version: int, kind: str) -> ModelVariantRow:
        row = self._session.get(ModelVariantRow, (name, version, kind))
        if row is None:
            formats = [one.format for one in self.list_variants(name, version)]
            raise NotFound(f"Version {version} of model {name!r} has no variant {kind!r}.", known=formats)
        return row

    def delete(self, name: str, version: int, kind: str) -> None:
        """Delete a variant. Its files remain with its job.

        Raises:
            NotFound: the variant does not exist.
            InUse: an alias refers to it.
        """
        row = self.get(name, version, kind)
        mine = (ModelAliasRow.name == name, ModelAliasRow.version == version, ModelAliasRow.variant == kind)
        aliases = list(self._session.scalars(select(ModelAliasRow.alias).where(*mine)))
        if aliases:
            raise ResourceInUse(f"Aliases of {name!r} refer to this variant: {', '.join(aliases)}.", aliases=aliases)
        self._session.delete(row)
        self._session.flush()

    def is_key_referenced(self, key: str) -> bool:
        """Return whether a variant has the storage key."""
        return (
            self._session.scalars(select(ModelVariantRow.version).where(ModelVariantRow.key == key)).first() is not None
        )
