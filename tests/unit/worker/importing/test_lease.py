"""The lease of an import: renewed when due, lost when taken over or not renewed in time."""

import pytest
from sqlalchemy.exc import OperationalError

from core.db.repos.datasets import DatasetRepo
from core.db.session import SessionFactory, transaction
from core.errors import LostLease
from tests.support.fakes import Clock
from worker.importing.lease import ImportLease


@pytest.fixture
def version_id(sqlite_sessions: SessionFactory) -> str:
    """A version that this worker has claimed."""
    with transaction(sqlite_sessions) as session:
        row = DatasetRepo(session).add("digits", {"kind": "builtin", "options": {}})
        assert DatasetRepo(session).claim(row.id, "worker-1", 60.0)
        return row.id


@pytest.fixture
def lease(sqlite_sessions: SessionFactory, version_id: str, clock: Clock) -> ImportLease:
    return ImportLease(sqlite_sessions, version_id, 1, lease_s=30.0, heartbeat_s=5.0, clock=clock)


def take_over(sessions: SessionFactory, version_id: str) -> None:
    with transaction(sessions) as session:
        DatasetRepo(session).renew_lease(version_id, 1, -1.0)
    with transaction(sessions) as session:
        assert DatasetRepo(session).claim(version_id, "worker-2", 60.0)


def raise_unavailable(*_: object) -> None:
    raise OperationalError("UPDATE", {}, Exception("database is locked"), connection_invalidated=True)


def test_a_lease_is_renewed_only_when_it_is_due(
    lease: ImportLease, sqlite_sessions: SessionFactory, version_id: str, clock: Clock
) -> None:
    take_over(sqlite_sessions, version_id)
    clock.now += 4.9
    lease.renew_if_due()  # not due: it does not notice yet
    clock.now += 0.1
    with pytest.raises(LostLease):
        lease.renew_if_due()


def test_a_lease_that_cannot_be_renewed_in_time_is_lost(
    lease: ImportLease, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatasetRepo, "renew_lease", raise_unavailable)
    for _ in range(4):  # until 24 s, which is 0.8 of the lease
        clock.now += 6.0
        lease.renew_if_due()
    clock.now += 6.0
    with pytest.raises(LostLease, match="in time"):
        lease.renew_if_due()


def test_a_renewal_after_a_failed_one_keeps_the_lease(
    lease: ImportLease, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(DatasetRepo, "renew_lease", raise_unavailable)
        clock.now += 20.0
        lease.renew_if_due()
    clock.now += 5.0
    lease.renew_if_due()
    clock.now += 20.0
    lease.renew_if_due()
