"""The worker's row: registered with its devices, updated, restored and deleted."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from core.db.queue_tables import WorkerRow
from core.db.session import SessionFactory, transaction
from tests.support.processes import wait_for
from worker.control.heartbeat import WorkerHeartbeat, list_package_versions

DEVICES = [{"name": "cpu"}, {"name": "cuda:0"}]
GetRow = Callable[[], WorkerRow | None]


@pytest.fixture
def get_row(sqlite_sessions: SessionFactory) -> GetRow:
    def read() -> WorkerRow | None:
        with transaction(sqlite_sessions, read_only=True) as session:
            return session.get(WorkerRow, "worker-1")

    return read


@pytest.fixture
def detected() -> list[Any]:
    return []


@pytest.fixture
def heartbeat(
    sqlite_sessions: SessionFactory, detected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerHeartbeat]:
    monkeypatch.setattr("worker.control.heartbeat.probe_devices", lambda: DEVICES)
    heartbeat = WorkerHeartbeat(sqlite_sessions, "worker-1", 2, 0.01, detected.extend)
    heartbeat.start()
    yield heartbeat
    heartbeat.close()


def test_the_worker_is_registered_with_its_devices_and_versions(
    heartbeat: WorkerHeartbeat, get_row: GetRow, detected: list[Any]
) -> None:
    row = wait_for(lambda: row if (row := get_row()) and row.devices == DEVICES else None, "the devices")
    assert (row.slots, row.versions, detected) == (2, list_package_versions(), DEVICES)


def test_a_deleted_row_is_inserted_again(
    heartbeat: WorkerHeartbeat, get_row: GetRow, sqlite_sessions: SessionFactory
) -> None:
    wait_for(get_row, "the row")
    with transaction(sqlite_sessions) as session:
        session.execute(delete(WorkerRow))
    wait_for(get_row, "the row to return")


def test_a_received_message_is_recorded(heartbeat: WorkerHeartbeat, get_row: GetRow) -> None:
    heartbeat.record_message()
    wait_for(lambda: (row := get_row()) is not None and row.took_at is not None, "the time of the message")


def test_closing_deletes_the_row(heartbeat: WorkerHeartbeat, get_row: GetRow) -> None:
    wait_for(get_row, "the row")
    heartbeat.close()
    assert get_row() is None


def test_package_versions_name_python_and_torch() -> None:
    assert {"python", "torch", "celery"} <= set(list_package_versions())
