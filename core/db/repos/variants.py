"""Queries for the variants of model versions."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.transitions import lock_job_for_attempt
from core.db.tables import ModelAliasRow, ModelVariantRow, ModelVersionRow
from core.errors import NotFound, ResourceInUse

CHOSEN_BY = "chosen_by"
AUTOMATIC_CHOICE = "auto"
"""The value of the measurement `chosen_by` of variants that a job of the format `auto` has chosen."""


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

    def find_chosen(self, name: str, version: int) -> ModelVariantRow | None:
        """Return the variant that the automatic choice made for a model version, or None."""
        of_version = (ModelVariantRow.name == name, ModelVariantRow.version == version)
        query = select(ModelVariantRow).where(*of_version, _is_chosen())
        return self._session.scalars(query.order_by(ModelVariantRow.created_at.desc()).limit(1)).one_or_none()

    def list_chosen(self, name: str | None = None) -> dict[tuple[str, int], ModelVariantRow]:
        """Return the automatically chosen variants of a model, default: of all, as {(name, version): variant}."""
        query = select(ModelVariantRow).where(_is_chosen()).order_by(ModelVariantRow.created_at)
        if name is not None:
            query = query.where(ModelVariantRow.name == name)
        return {(row.name, row.version): row for row in self._session.scalars(query)}

    def clear_choice(self, name: str, version: int) -> None:
        """Make the automatically chosen variants of a version ordinary ones: another choice replaces it."""
        for row in self.list_variants(name, version):
            if CHOSEN_BY in row.measured:
                row.measured = {key: value for key, value in row.measured.items() if key != CHOSEN_BY}
        self._session.flush()

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


def _is_chosen() -> ColumnElement[bool]:
    is_chosen: ColumnElement[bool] = ModelVariantRow.measured[CHOSEN_BY].as_string() == AUTOMATIC_CHOICE
    return is_chosen
