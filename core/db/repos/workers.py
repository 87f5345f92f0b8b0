"""Queries for registered workers."""

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.queue_tables import WorkerRow


class WorkerRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def register(self, worker_id: str, host: str, slots: int, devices: list[Any], versions: dict[str, Any]) -> None:
        """Register a worker. Worker ids are never reused."""
        row = WorkerRow(id=worker_id, host=host, slots=slots, devices=devices, versions=versions, message=None)
        row.started_at = row.beat_at = now(self._session)
        self._session.merge(row)
        self._session.flush()
        self.record_heartbeat(worker_id)

    def record_heartbeat(self, worker_id: str, last_message_age_s: float | None = None) -> bool:
        """Record a heartbeat. Return False if the row was deleted as stale: the worker must then register again.

        Args:
            worker_id: the id of the worker.
            last_message_age_s: seconds since the worker last received a queue message; None if it has received none.
        """
        values: dict[str, Any] = {"beat_at": now(self._session)}
        if last_message_age_s is not None:
            values["took_at"] = now(self._session, -last_message_age_s)
        statement = update(WorkerRow).where(WorkerRow.id == worker_id).values(values)
        row = self._session.execute(statement.returning(WorkerRow.id).execution_options(synchronize_session=False))
        return row.scalar_one_or_none() is not None

    def set_devices(self, worker_id: str, devices: list[Any], versions: dict[str, Any]) -> None:
        """Store the devices and package versions of a worker."""
        statement = update(WorkerRow).where(WorkerRow.id == worker_id)
        self._session.execute(statement.values(devices=devices, versions=versions))

    def list_alive(self, within_s: float) -> list[WorkerRow]:
        """List the workers with a heartbeat in the last `within_s` seconds."""
        query = select(WorkerRow).where(WorkerRow.beat_at > now(self._session, -within_s))
        return list(self._session.scalars(query.order_by(WorkerRow.started_at)))

    def unregister(self, worker_id: str) -> None:
        self._session.execute(delete(WorkerRow).where(WorkerRow.id == worker_id))

    def delete_stale(self, age: timedelta) -> None:
        """Delete workers without a heartbeat for longer than `age`."""
        cutoff = now(self._session, -age.total_seconds())
        self._session.execute(delete(WorkerRow).where(WorkerRow.beat_at < cutoff))
