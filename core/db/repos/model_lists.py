"""Queries for lists of models and of their versions. Their work depends on the page, not on the number of versions."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Select, Subquery, and_, exists, func, literal, or_, select
from sqlalchemy.orm import Session, aliased, load_only

from core.db import cursor as cursors
from core.db.registry_tables import ResourceDescriptionRow
from core.db.repos.descriptions import WHOLE, Description, select_tagged_names
from core.db.repos.models import MAX_VERSION
from core.db.tables import ModelAliasRow, ModelVersionRow
from core.jobs import ResourceKind

MAX_NEWEST_VERSIONS = 50
"""Maximum number of versions that are listed with their model."""
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_SUMMARY = tuple(
    getattr(ModelVersionRow, name) for name in ("name", "version", "created_at", "sha256", "num_parameters", "metrics")
)


class DescribedVersion(NamedTuple):
    """A model version with the columns of lists only, and its description."""

    row: ModelVersionRow
    description: Description


class ListedModel(NamedTuple):
    """A model with its newest versions, newest first. `versions_cursor` is the cursor of the others, if any."""

    name: str
    versions: Sequence[DescribedVersion]
    versions_cursor: str | None


class ModelListRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_models(
        self, *, after: str | None = None, limit: int = 50, tags: Sequence[str] = ()
    ) -> tuple[list[ListedModel], str | None]:
        """Return a page of models in alphabetical order. Also return the last name, or None on the last page.

        With `tags`, only the models that have all of them, themselves or at one of their versions.
        """
        names = _select_names(after, limit + 1) if not tags else _select_tagged(tags, after, limit + 1)
        row = ModelVersionRow
        omitted = select(row.version).where(row.name == names.c.name).order_by(row.version.desc())
        newest_omitted = omitted.limit(1).offset(MAX_NEWEST_VERSIONS).correlate(names).scalar_subquery()
        found = self._session.execute(select(names.c.name, newest_omitted).order_by(names.c.name)).all()
        models = self._read_newest({name: number or 0 for name, number in found[:limit]})
        return models, found[limit - 1][0] if len(found) > limit else None

    def find_model(self, name: str) -> ListedModel | None:
        """Return a model, or None if it does not exist."""
        versions, cursor = self.list_versions(name, limit=MAX_NEWEST_VERSIONS)
        return ListedModel(name, versions, cursor) if versions else None

    def list_versions(
        self, name: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[DescribedVersion], str | None]:
        """Return a page of the versions of a model, newest first, and the cursor of the next page, if any.

        The page is empty if the model does not exist.

        Raises:
            InvalidSpec: the cursor is invalid.
        """
        row = ModelVersionRow
        query = _select_versions().where(row.name == name).order_by(row.version.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(row.version < _decode_cursor(cursor))
        versions = list(self._execute(query))
        return versions[:limit], str(versions[limit - 1].row.version) if len(versions) > limit else None

    def list_aliases(self, names: Collection[str]) -> list[ModelAliasRow]:
        """List the aliases of models."""
        return list(self._session.scalars(select(ModelAliasRow).where(ModelAliasRow.name.in_(names))))

    def list_descriptions(self, names: Collection[str]) -> dict[str, Description]:
        """Return the descriptions of whole models; models without one are omitted."""
        row = ResourceDescriptionRow
        query = select(row).where(row.kind == ResourceKind.MODEL, row.name.in_(names), row.version == WHOLE)
        return {row.name: Description(row.description, row.tags) for row in self._session.scalars(query)}

    def _read_newest(self, newest_omitted: dict[str, int]) -> list[ListedModel]:
        """Read the versions of models, without each model's `newest_omitted` version and the ones before it."""
        row = ModelVersionRow
        complete = [name for name, number in newest_omitted.items() if not number]
        parts = [and_(row.name == name, row.version > number) for name, number in newest_omitted.items() if number]
        query = _select_versions().where(or_(row.name.in_(complete), *parts))
        versions = self._execute(query.order_by(row.name, row.version.desc()))
        return [
            ListedModel(name, listed := list(group), str(listed[-1].row.version) if newest_omitted[name] else None)
            for name, group in groupby(versions, key=lambda version: version.row.name)
        ]

    def _execute(self, query: Select[ModelVersionRow, ResourceDescriptionRow | None]) -> Iterator[DescribedVersion]:
        for row, found in self._session.execute(query):
            yield DescribedVersion(row, Description() if found is None else Description(found.description, found.tags))


def _select_versions() -> Select[ModelVersionRow, ResourceDescriptionRow | None]:
    row, described = ModelVersionRow, ResourceDescriptionRow
    is_mine = and_(described.kind == ResourceKind.MODEL, described.name == row.name, described.version == row.version)
    return select(row, described).outerjoin(described, is_mine).options(load_only(*_SUMMARY, raiseload=True))


def _select_names(after: str | None, limit: int) -> Subquery:
    """Select names of models by searching the index for the next name each time, whatever number of versions it has."""
    row, next_row = ModelVersionRow, aliased(ModelVersionRow)
    first = select(func.min(row.name).label("name"), literal(1).label("number"))
    names = (first if after is None else first.where(row.name > after)).cte("names", recursive=True)
    next_name = select(func.min(next_row.name)).where(next_row.name > names.c.name).correlate(names).scalar_subquery()
    names = names.union_all(
        select(next_name, names.c.number + 1).where(names.c.name.is_not(None), names.c.number < limit)
    )
    return select(names.c.name).where(names.c.name.is_not(None)).subquery()


def _select_tagged(tags: Sequence[str], after: str | None, limit: int) -> Subquery:
    tagged = select_tagged_names(ResourceKind.MODEL, tags[0]).subquery()
    query = select(tagged.c.name).where(exists().where(ModelVersionRow.name == tagged.c.name))
    for tag in tags[1:]:
        query = query.where(tagged.c.name.in_(select_tagged_names(ResourceKind.MODEL, tag)))
    if after is not None:
        query = query.where(tagged.c.name > after)
    return query.order_by(tagged.c.name).limit(limit).subquery()


def _decode_cursor(cursor: str) -> int:
    if not _VERSION.fullmatch(cursor) or int(cursor) > MAX_VERSION:
        raise cursors.build_cursor_error()
    return int(cursor)
