"""Queries for the variants of model versions."""

from collections.abc import Collection

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.transitions import lock_job_for_attempt
from core.db.tables import ModelAliasRow, ModelVariantRow, ModelVersionRow
from core.errors import NotFound, ResourceInUse


class VariantRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, variant: ModelVariantRow, token: int) -> None:
        """Store a variant. Replace the variant of the model version with the same format, if any.

        Do nothing if the model version was deleted.

        Raises:
            LostLease: the attempt with this token does not hold the lease of the job.
        """
        lock_job_for_attempt(self._session, variant.job_id, token)
        if self._session.get(ModelVersionRow, (variant.name, variant.version)) is not None:
            variant.created_at = now(self._session)
            self._session.merge(variant)
            self._session.flush()

    def list_variants(self, name: str, version: int) -> list[ModelVariantRow]:
        """List the variants of a model version, ordered by format."""
        of_version = (ModelVariantRow.name == name, ModelVariantRow.version == version)
        return list(self._session.scalars(select(ModelVariantRow).where(*of_version).order_by(ModelVariantRow.format)))

    def get(self, name: str, version: int, kind: str) -> ModelVariantRow:
        row = self._session.get(ModelVariantRow, (name, version, kind))
        if row is None:
            formats = [one.format for one in self.list_variants(name, version)]
            raise NotFound(f"Version {version} of model {name!r} has no variant {kind!r}.", known=formats)
        return row

    def delete(self, name: str, version: int, kind: str) -> None:
        """Delete the row of a variant. Its files belong to its job and are not deleted.

        Raises:
            NotFound: the variant does not exist.
            ResourceInUse: an alias refers to the variant.
        """
        row = self.get(name, version, kind)
        mine = (ModelAliasRow.name == name, ModelAliasRow.version == version, ModelAliasRow.variant == kind)
        aliases = list(self._session.scalars(select(ModelAliasRow.alias).where(*mine)))
        if aliases:
            raise ResourceInUse(f"Aliases of {name!r} refer to this variant: {', '.join(aliases)}.", aliases=aliases)
        self._session.delete(row)
        self._session.flush()

    def list_keys(self, versions: Collection[tuple[str, int]]) -> dict[tuple[str, int, str], str]:
        """Return the storage keys of the variants of model versions: {(name, version, format): key}."""
        columns = (ModelVariantRow.name, ModelVariantRow.version)
        query = select(*columns, ModelVariantRow.format, ModelVariantRow.key).where(tuple_(*columns).in_(versions))
        return {(name, version, kind): key for name, version, kind, key in self._session.execute(query)}

    def filter_keys(self, keys: Collection[str]) -> set[str]:
        """Return the storage keys under which a variant is stored."""
        return set(self._session.scalars(select(ModelVariantRow.key).where(ModelVariantRow.key.in_(keys))))
