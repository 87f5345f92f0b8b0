"""Queries for the descriptions and tags of models, datasets and their versions, and for their deleted versions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, ScalarSelect, Select, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.db.base import Base
from core.db.registry_tables import ResourceDescriptionRow, ResourceTagRow, VersionCounterRow
from core.jobs import ResourceKind

WHOLE = 0
"""The version under which the description of a whole model or dataset is stored."""


class Description(NamedTuple):
    """The description, as Markdown, and the tags of a model, a dataset or a version."""

    description: str | None = None
    tags: Sequence[str] = ()


class DescriptionRepo:
    """Queries for the descriptions of models or of datasets."""

    def __init__(self, session: Session, kind: ResourceKind) -> None:
        self._session = session
        self._kind = kind

    def list_descriptions(self, names: Collection[str]) -> dict[tuple[str, int], Description]:
        """Return the descriptions of the named resources and of their versions: {(name, version): description}.

        Resources without a description and tags are omitted.
        """
        row = ResourceDescriptionRow
        found = self._session.scalars(select(row).where(row.kind == self._kind, row.name.in_(names)))
        return {(row.name, row.version): Description(row.description, row.tags) for row in found}

    def get(self, name: str, version: int = WHOLE) -> Description:
        """Return the description of a resource or of its version; an empty one if there is none."""
        row = self._session.get(ResourceDescriptionRow, (self._kind, name, version))
        return Description() if row is None else Description(row.description, row.tags)

    def change(self, name: str, version: int, changes: Mapping[str, Any]) -> None:
        """Set the `description` or the `tags`. Tags are a list without duplicates."""
        key = {"kind": self._kind, "name": name, "version": version}
        row = self._lock(key)
        new = Description(**(Description(row.description, row.tags)._asdict() | dict(changes)))
        row.description, row.tags = new.description, list(new.tags)
        self._session.execute(delete(ResourceTagRow).where(*self._build_conditions(ResourceTagRow, name, version)))
        self._session.flush()
        self._session.add_all([ResourceTagRow(**key, tag=tag) for tag in new.tags])
        self._session.flush()

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete the description of a version; default: those of the resource and of all its versions."""
        for table in (ResourceTagRow, ResourceDescriptionRow):
            self._session.execute(delete(table).where(*self._build_conditions(table, name, version)))

    def filter_tagged(self, names: Collection[str], tags: Sequence[str]) -> set[str]:
        """Return the names of the resources that have all tags, themselves or at one of their versions."""
        remaining = set(names)
        for tag in tags:
            query = select_tagged_names(self._kind, tag).where(ResourceTagRow.name.in_(remaining))
            remaining = set(self._session.scalars(query))
        return remaining

    def _lock(self, key: Mapping[str, Any]) -> ResourceDescriptionRow:
        """Lock the row of a description until the commit and return it. Insert it if it is missing."""
        insert = _build_insert(self._session, ResourceDescriptionRow).values(**key, description=None, tags=[])
        lock = insert.on_conflict_do_update(index_elements=list(key), set_={"version": insert.excluded.version})
        self._session.execute(lock)  # an update that changes nothing locks a row that exists
        return self._session.get_one(ResourceDescriptionRow, tuple(key.values()), populate_existing=True)

    def _build_conditions(
        self, table: type[ResourceTagRow | ResourceDescriptionRow], name: str, version: int | None
    ) -> list[ColumnElement[bool]]:
        conditions = [table.kind == self._kind, table.name == name]
        return conditions if version is None else [*conditions, table.version == version]


def select_tagged_names(kind: ResourceKind, tag: str) -> Select[str]:
    """Select the names of the resources that have a tag, themselves or at one of their versions."""
    return select(ResourceTagRow.name).where(ResourceTagRow.kind == kind, ResourceTagRow.tag == tag).distinct()


def select_last_deleted(kind: ResourceKind, name: str) -> ScalarSelect[int]:
    """Select the highest number of the deleted versions of a resource; 0 if no version was deleted."""
    row = VersionCounterRow
    numbers = select(func.coalesce(func.max(row.last_deleted), 0)).where(row.kind == kind, row.name == name)
    return numbers.scalar_subquery()


def record_deleted_version(session: Session, kind: ResourceKind, name: str, version: int) -> None:
    """Store that a version was deleted, so that no later version gets its number.

    Until the commit, other transactions that delete a version of this resource wait here.
    """
    insert = _build_insert(session, VersionCounterRow).values(kind=kind, name=name, last_deleted=version)
    last_deleted = insert.excluded.last_deleted
    upsert = insert.on_conflict_do_update(
        index_elements=("kind", "name"),
        set_={"last_deleted": last_deleted},
        where=VersionCounterRow.last_deleted < last_deleted,
    )
    session.execute(upsert)


def _build_insert(session: Session, table: type[Base]) -> Any:  # noqa: ANN401 - the inserts of the two dialects have no common type
    is_postgres = session.get_bind().dialect.name == "postgresql"
    return postgresql.insert(table) if is_postgres else sqlite.insert(table)
