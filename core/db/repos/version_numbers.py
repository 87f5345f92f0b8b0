"""Assigns the numbers of the versions of models and datasets: from 1, without the numbers of deleted versions."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.repos.descriptions import select_last_deleted
from core.db.tables import DatasetVersionRow, ModelVersionRow
from core.jobs import ResourceKind

_ROWS: dict[ResourceKind, type[DatasetVersionRow | ModelVersionRow]] = {
    ResourceKind.DATASET: DatasetVersionRow,
    ResourceKind.MODEL: ModelVersionRow,
}
# The first key of the advisory locks, so that a model and a dataset of the same name have different locks.
_LOCKS = {ResourceKind.DATASET: 1, ResourceKind.MODEL: 2}


def assign_next_version(session: Session, kind: ResourceKind, name: str) -> int:
    """Return the number of the next version, which the caller adds in this transaction.

    Other transactions that add a version of the same resource wait here until the commit.
    """
    if session.get_bind().dialect.name == "postgresql":  # on SQLite, only one transaction writes
        session.execute(select(func.pg_advisory_xact_lock(_LOCKS[kind], func.hashtext(name))))
    return get_next_version(session, kind, name)


def get_next_version(session: Session, kind: ResourceKind, name: str) -> int:
    """Return the number that the next version would have now."""
    # One statement reads both numbers, so that a concurrent deletion is seen completely or not at all.
    row = _ROWS[kind]
    newest = select(func.max(row.version), select_last_deleted(kind, name)).where(row.name == name)
    return max(number or 0 for number in session.execute(newest).one()) + 1
