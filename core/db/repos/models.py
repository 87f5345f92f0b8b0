"""Queries for the model registry: models, their versions and their aliases."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session, defer

from core.db.clock import now
from core.db.repos.descriptions import (
    DescriptionRepo,
    record_deleted_version,
)
from core.db.repos.transitions import lock_job_for_attempt
from core.db.repos.version_numbers import assign_next_version
from core.db.tables import ModelAliasRow, ModelVersionRow
from core.errors import InvalidSpec, NotFound
from core.jobs import ResourceKind
from core.spec.reserved_names import find_name_error

LATEST = "latest"
DEFAULT = "default"
MAX_VERSION = 2**31 - 1
_REF = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{0,62})(@(?P<tag>[a-z0-9][a-z0-9._-]{0,62}))?")


class ModelNotFound(NotFound):
    """The model does not exist, or has no such version or alias."""


class ModelSelection(NamedTuple):
    """A model version and the format of its variant to serve. If `variant` is None, the original model is served."""

    version: ModelVersionRow
    variant: str | None


class ModelRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def register(self, version: ModelVersionRow, token: int) -> ModelVersionRow:
        """Register a stored bundle as the next version of its model, in the transaction that completes its job.

        Raises:
            LostLease: the attempt with this token does not hold the lease of the job.
        """
        lock_job_for_attempt(self._session, version.job_id, token)
        return self.add(version, token)

    def add(self, version: ModelVersionRow, token: int) -> ModelVersionRow:
        """Store a bundle of an attempt as the next version of its model. The caller has locked its job."""
        version.version = assign_next_version(self._session, ResourceKind.MODEL, version.name)
        version.job_token, version.created_at = token, now(self._session)
        self._session.add(version)
        self._session.flush()
        return version

    def find_registered(self, job_id: str, sha256: str) -> ModelVersionRow | None:
        """Return the newest version that a job registered with these weights, or None."""
        query = select(ModelVersionRow).where(ModelVersionRow.job_id == job_id, ModelVersionRow.sha256 == sha256)
        return self._session.scalars(query.order_by(ModelVersionRow.version.desc()).limit(1)).one_or_none()

    def list_versions(self, name: str) -> list[ModelVersionRow]:
        """List all versions of a model, newest first, without their specs.

        Raises:
            NotFound: the model does not exist.
        """
        query = select(ModelVersionRow).where(ModelVersionRow.name == name).options(defer(ModelVersionRow.spec))
        rows = list(self._session.scalars(query.order_by(ModelVersionRow.version.desc())))
        if not rows:
            raise ModelNotFound(f"Model {name!r} does not exist.")
        return rows

    def iterate_all_versions(self) -> Iterator[ModelVersionRow]:
        """Yield all versions of all models by name, oldest first, without their specs."""
        query = select(ModelVersionRow).order_by(ModelVersionRow.name, ModelVersionRow.version)
        yield from self._session.scalars(query.options(defer(ModelVersionRow.spec)).execution_options(yield_per=1000))

    def list_version_numbers(self, name: str) -> list[int]:
        """Return the numbers of the versions of a model, oldest first."""
        query = select(ModelVersionRow.version).where(ModelVersionRow.name == name)
        return list(self._session.scalars(query.order_by(ModelVersionRow.version)))

    def require_model(self, name: str) -> None:
        """Raise NotFound if the model does not exist."""
        if (
            self._session.scalars(select(ModelVersionRow.version).where(ModelVersionRow.name == name).limit(1)).first()
            is None
        ):
            raise ModelNotFound(f"Model {name!r} does not exist.")

    def find(self, name: str, version: int) -> ModelVersionRow | None:
        if version > MAX_VERSION:  # the column cannot store it
            return None
        return self._session.get(ModelVersionRow, (name, version))

    def get(self, name: str, version: int) -> ModelVersionRow:
        row = self.find(name, version)
        if row is None:
            raise ModelNotFound(f"Model {name!r} has no version {version}.")
        return row

    def lock(self, name: str, version: int, *, is_shared: bool = False) -> ModelVersionRow:
        """Lock a version until the commit and return it. Raises NotFound.

        A shared lock only prevents that the version is deleted meanwhile.
        """
        query = select(ModelVersionRow).where(ModelVersionRow.name == name, ModelVersionRow.version == version)
        query = query.with_for_update(read=is_shared, key_share=is_shared)
        row = self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        if row is None:
            raise ModelNotFound(f"Model {name!r} has no version {version}.")
        return row

    def lock_all(self, name: str) -> list[ModelVersionRow]:
        """Lock the versions of a model until the commit and return them, oldest first.

        Raises:
            NotFound: the model does not exist.
        """
        query = select(ModelVersionRow).where(ModelVersionRow.name == name).order_by(ModelVersionRow.version)
        rows = list(self._session.scalars(query.with_for_update().execution_options(populate_existing=True)))
        if not rows:
            raise ModelNotFound(f"Model {name!r} does not exist.")
        return rows

    def delete_versions(self, rows: Sequence[ModelVersionRow]) -> None:
        """Delete locked versions of one model, with their variants, aliases, descriptions and tags.

        With its last version, the description and the tags of the model are deleted. The numbers are not used again.
        The caller first checks that nothing refers to the versions. Maintenance deletes their files.
        """
        name, numbers = rows[0].name, [row.version for row in rows]
        record_deleted_version(self._session, ResourceKind.MODEL, name, max(numbers))
        descriptions = DescriptionRepo(self._session, ResourceKind.MODEL)
        for number in numbers:
            descriptions.delete(name, number)
        for table in (ModelAliasRow, ModelVersionRow):
            self._session.execute(delete(table).where(table.name == name, table.version.in_(numbers)))
        if self._session.scalars(select(ModelVersionRow.version).where(ModelVersionRow.name == name)).first() is None:
            descriptions.delete(name)

    def get_newest(self, name: str) -> ModelVersionRow:
        query = select(ModelVersionRow).where(ModelVersionRow.name == name)
        row = self._session.scalars(query.order_by(ModelVersionRow.version.desc()).limit(1)).one_or_none()
        if row is None:
            raise ModelNotFound(f"Model {name!r} does not exist.")
        return row

    def resolve(self, ref: str) -> ModelVersionRow:
        """Return the version that `name`, `name@3` or `name@alias` refers to. Raises NotFound."""
        return self.resolve_with_variant(ref).version

    def resolve_with_variant(self, ref: str) -> ModelSelection:
        """Return the version that `name`, `name@3` or `name@alias` refers to, and the variant of the alias, if any.

        A name without a tag refers to the alias `default` if that alias is set. Otherwise, it refers to the newest
        version (`@latest`).

        Raises:
            NotFound: the reference matches no version.
        """
        match = _REF.fullmatch(ref)
        if match is None:
            raise ModelNotFound(f"Model {ref!r} does not exist.")
        name, tag = match["name"], match["tag"]
        if tag is not None and tag.isdecimal():
            return ModelSelection(self.get(name, int(tag)), None)
        alias = self._session.get(ModelAliasRow, (name, tag or DEFAULT))
        if alias is not None:
            return ModelSelection(self.get(name, alias.version), alias.variant)
        if tag in (None, LATEST):
            return ModelSelection(self.get_newest(name), None)
        raise ModelNotFound(f"Model {name!r} has no alias {tag!r}.", known=sorted(self.get_aliases(name)))

    def get_aliases(self, name: str) -> dict[str, int]:
        """Return the version number of each alias of a model: {alias: version}."""
        rows = self._session.scalars(select(ModelAliasRow).where(ModelAliasRow.name == name))
        return {row.alias: row.version for row in rows}

    def set_alias(self, name: str, alias: str, version: int, variant: str | None = None) -> ModelVersionRow:
        """Make `name@alias` refer to a version, or to an existing variant of it.

        Raises:
            NotFound: the version does not exist.
            InvalidSpec: the alias is a number, `latest` or a reserved name.
        """
        if reason := find_name_error(alias):
            raise InvalidSpec(f"{alias!r} cannot be an alias.", errors=[("/alias", reason)])
        if alias == LATEST or alias.isdecimal():
            raise InvalidSpec(f"{alias!r} cannot be an alias.", errors=[("/alias", "must not be a number or 'latest'")])
        row = self.lock(name, version, is_shared=True)
        self._session.merge(ModelAliasRow(name=name, alias=alias, version=version, variant=variant))
        self._session.flush()
        return row

    def delete_alias(self, name: str, alias: str) -> None:
        self._session.execute(delete(ModelAliasRow).where(ModelAliasRow.name == name, ModelAliasRow.alias == alias))

    def filter_existing(self, versions: Collection[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Return the storage keys of those of the versions that exist: {(name, version): key}."""
        columns = (ModelVersionRow.name, ModelVersionRow.version)
        query = select(*columns, ModelVersionRow.key).where(tuple_(*columns).in_(versions))
        return {(name, version): key for name, version, key in self._session.execute(query)}

    def filter_keys(self, keys: Collection[str]) -> set[str]:
        """Return the storage keys under which a model version is stored."""
        return set(self._session.scalars(select(ModelVersionRow.key).where(ModelVersionRow.key.in_(keys))))
