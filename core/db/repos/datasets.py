"""Queries for dataset versions.

A worker holds the lease of a version while it imports the version. Writes of earlier imports are rejected because their
fencing token is lower. Imported versions are immutable.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, Update, null, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.descriptions import (
    DescriptionRepo,
    record_deleted_version,
    select_tagged_names,
)
from core.db.repos.version_numbers import assign_next_version, get_next_version
from core.db.tables import DatasetVersionRow
from core.errors import LostLease, NotFound
from core.jobs import DatasetState, ResourceKind

_Row = DatasetVersionRow


class DatasetReference(NamedTuple):
    """The name of a dataset and the number of a version."""

    name: str
    version: int


class DatasetRepo:
    """Queries for dataset versions.

    Methods with a `token` change nothing and raise LostLease if a different import holds the lease of the version.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self, name: str, source: dict[str, Any], *, source_key: str | None = None, version_id: str | None = None
    ) -> DatasetVersionRow:
        """Add the next version of dataset `name` in state `importing`. The caller adds a message to the outbox.

        `source_key` is a hash of the options of a built-in dataset. If the dataset already has a version with this
        `source_key`, that version is returned instead.
        """
        version = assign_next_version(self._session, ResourceKind.DATASET, name)
        if source_key is not None and (existing := self.find_by_source(name, source_key)):
            return existing
        version_id = version_id or uuid.uuid4().hex
        row = _Row(
            id=version_id,
            name=name,
            version=version,
            state=DatasetState.IMPORTING,
            source=source,
            source_key=source_key or version_id,
            created_at=now(self._session),
        )
        self._session.add(row)
        self._session.flush()
        self._session.refresh(row)
        return row

    def get_next_version(self, name: str) -> int:
        """Return the number that the next version of the dataset will have."""
        return get_next_version(self._session, ResourceKind.DATASET, name)

    def find(self, version_id: str) -> DatasetVersionRow | None:
        return self._fetch_one(select(_Row).where(_Row.id == version_id))

    def get(self, version_id: str) -> DatasetVersionRow:
        row = self.find(version_id)
        if row is None:
            raise NotFound(f"Dataset version {version_id!r} does not exist.")
        return row

    def find_version(self, name: str, version: int) -> DatasetVersionRow | None:
        return self._fetch_one(select(_Row).where(_Row.name == name, _Row.version == version))

    def get_version(self, name: str, version: int) -> DatasetVersionRow:
        row = self.find_version(name, version)
        if row is None:
            raise NotFound(f"Dataset {name!r} has no version {version}.")
        return row

    def find_by_source(self, name: str, source_key: str) -> DatasetVersionRow | None:
        """Return the dataset's version with this `source_key`, or None."""
        return self._fetch_one(select(_Row).where(_Row.name == name, _Row.source_key == source_key))

    def find_newest(self, name: str, state: DatasetState | None = None) -> DatasetVersionRow | None:
        """Return the newest version of a dataset, or None. If `state` is set, ignore versions in other states."""
        query = select(_Row).where(_Row.name == name)
        if state is not None:
            query = query.where(_Row.state == state)
        return self._fetch_one(query.order_by(_Row.version.desc()).limit(1))

    def list_versions(self, names: list[str]) -> list[DatasetVersionRow]:
        """List all versions of the named datasets, ordered by name, newest version first."""
        query = select(_Row).where(_Row.name.in_(names)).order_by(_Row.name, _Row.version.desc())
        return list(self._session.scalars(query))

    def list_references(self, version_ids: Collection[str]) -> dict[str, DatasetReference]:
        """Return the name and the number of versions, keyed by version id."""
        query = select(DatasetVersionRow.id, DatasetVersionRow.name, DatasetVersionRow.version)
        rows = self._session.execute(query.where(DatasetVersionRow.id.in_(version_ids)))
        return {version_id: DatasetReference(name, version) for version_id, name, version in rows}

    def list_names(self, *, after: str = "", limit: int = 1000, tags: Sequence[str] = ()) -> list[str]:
        """List the names of datasets in alphabetical order, starting after `after`.

        With `tags`, only the datasets that have all of them, themselves or at one of their versions.
        """
        query = select(_Row.name).where(_Row.name > after).distinct().order_by(_Row.name).limit(limit)
        for tag in tags:
            query = query.where(_Row.name.in_(select_tagged_names(ResourceKind.DATASET, tag)))
        return list(self._session.scalars(query))

    def lock(self, name: str, version: int, *, is_shared: bool = False) -> DatasetVersionRow:
        """Lock a version until the commit and return it. Raises NotFound.

        A shared lock only prevents that the version is deleted meanwhile.
        """
        query = select(_Row).where(_Row.name == name, _Row.version == version)
        query = query.with_for_update(read=is_shared, key_share=is_shared)
        row = self._fetch_one(query)
        if row is None:
            raise NotFound(f"Dataset {name!r} has no version {version}.")
        return row

    def lock_all(self, name: str) -> list[DatasetVersionRow]:
        """Lock all versions of a dataset until the commit and return them, oldest first."""
        query = select(_Row).where(_Row.name == name).order_by(_Row.version).with_for_update()
        return list(self._session.scalars(query.execution_options(populate_existing=True)))

    def claim(self, version_id: str, owner: str, lease_s: float) -> DatasetVersionRow | None:
        """Claim the import of a version. Return None if a worker holds its lease or the import has ended."""
        statement = update(_Row).where(
            _Row.id == version_id,
            _Row.state == DatasetState.IMPORTING,
            or_(_Row.lease_until.is_(None), _Row.lease_until < now(self._session)),
        )
        values = {"owner": owner, "token": _Row.token + 1, "attempt": _Row.attempt + 1}
        is_claimed = self._execute_update(statement, lease_until=now(self._session, lease_s), **values)
        return self.get(version_id) if is_claimed else None

    def renew_lease(self, version_id: str, token: int, lease_s: float) -> None:
        """Renew the lease of an import."""
        self._update_claim(version_id, token, lease_until=now(self._session, lease_s))

    def finish(
        self, version_id: str, token: int, *, meta: dict[str, Any], report: dict[str, Any], packed_key: str
    ) -> None:
        """Mark the version as ready. `meta` has the fields of PackedMeta and `files`: {name: {sha256, size_bytes}}."""
        self._update_claim(
            version_id,
            token,
            state=DatasetState.READY,
            meta=meta,
            report=report,
            content_hash=meta["content_hash"],
            packed_key=packed_key,
            **_build_end_values(self._session),
        )

    def fail(self, version_id: str, token: int, failure: dict[str, Any], report: dict[str, Any] | None) -> None:
        """Mark the import as failed. `failure` is {code, message, hint, …extra}."""
        values = {"state": DatasetState.FAILED, "failure": failure, "report": null() if report is None else report}
        self._update_claim(version_id, token, **values, **_build_end_values(self._session))

    def retry(self, version_id: str) -> bool:
        """Set a failed version to `importing` again. Return False if the version has not failed.

        The caller adds a message to the outbox.
        """
        statement = update(_Row).where(_Row.id == version_id, _Row.state == DatasetState.FAILED)
        values: dict[str, Any] = {"state": DatasetState.IMPORTING, "failure": null(), "report": null()}
        return self._execute_update(statement, **values, attempt=0, finished_at=None)

    def find_unclaimed_ids(self, older_than_s: float, limit: int = 100) -> list[str]:
        """Return the ids of versions that must be imported but that no worker is importing, oldest first.

        Either the lease of the import has expired, or no worker has claimed the version and it was created more than
        `older_than_s` seconds ago. In the second case the queue message may be lost.
        """
        created_before = now(self._session, -older_than_s)
        is_unclaimed = or_(
            _Row.lease_until < now(self._session), (_Row.lease_until.is_(None)) & (_Row.created_at < created_before)
        )
        query = select(_Row.id).where(_Row.state == DatasetState.IMPORTING, is_unclaimed)
        return list(self._session.scalars(query.order_by(_Row.created_at).limit(limit)))

    def list_by_ids(self, version_ids: Collection[str]) -> list[DatasetVersionRow]:
        """List versions, in any order. Ids of versions that do not exist are skipped."""
        return list(self._session.scalars(select(_Row).where(_Row.id.in_(version_ids))))

    def filter_ended_within(self, version_ids: Collection[str], days: float) -> set[str]:
        """Return the ids of the versions whose import ended less than `days` days ago."""
        is_recent = _Row.finished_at > now(self._session, -days * 24 * 3600)
        return set(self._session.scalars(select(_Row.id).where(_Row.id.in_(version_ids), is_recent)))

    def list_edits(self, base_id: str) -> list[DatasetVersionRow]:
        """List the versions that are being imported by editing the version `base_id`."""
        query = select(_Row).where(_Row.state == DatasetState.IMPORTING).order_by(_Row.created_at)
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [row for row in rows if row.source["kind"] == "edit" and row.source["base"]["id"] == base_id]

    def delete(self, row: DatasetVersionRow) -> None:
        """Delete a version with its description and tags. Its number is not used again.

        The caller first checks that no job uses the version, and deletes its files after the commit.
        """
        record_deleted_version(self._session, ResourceKind.DATASET, row.name, row.version)
        DescriptionRepo(self._session, ResourceKind.DATASET).delete(row.name, row.version)
        self._session.delete(row)
        self._session.flush()

    def _fetch_one(self, query: Select[DatasetVersionRow]) -> DatasetVersionRow | None:
        return self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()

    def _update_claim(self, version_id: str, token: int, **values: object) -> None:
        statement = update(_Row).where(_Row.id == version_id, _Row.token == token, _Row.state == DatasetState.IMPORTING)
        if not self._execute_update(statement, **values):
            raise LostLease(f"Token {token} does not hold the lease of dataset version {version_id}.")

    def _execute_update(self, change: Update, **values: object) -> bool:
        returning = change.values(**values).returning(_Row.id).execution_options(synchronize_session=False)
        return self._session.execute(returning).one_or_none() is not None


def _build_end_values(session: Session) -> dict[str, Any]:
    return {"owner": None, "lease_until": None, "finished_at": now(session)}
