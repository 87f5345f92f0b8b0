"""Queries for job events. The events of each job are numbered without gaps, in commit order."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.session import publish_on_commit
from core.db.tables import JobEventRow, JobRow
from core.errors import NotFound
from core.events import Event, EventType
from core.jobs import JobState

_SUPERSEDING = (EventType.EPOCH, EventType.END)


class JobChange(NamedTuple):
    """A job with the number and the time of its newest event."""

    job_id: str
    seq: int
    at: datetime


class EventRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def append(self, job_id: str, entries: Sequence[tuple[EventType, dict[str, Any]]]) -> list[Event]:
        """Store events of a job. They are published on the event bus after the commit.

        An epoch and the end of a job supersede the progress before them, which is deleted.
        Event numbers are taken from a counter in the job's row. The row is locked until the commit, so that events
        become visible in the order of their numbers.
        """
        if not entries:
            return []
        statement = update(JobRow).where(JobRow.id == job_id)
        statement = statement.values(event_seq=JobRow.event_seq + len(entries), event_at=now(self._session))
        row = self._session.execute(
            statement.returning(JobRow.event_seq, JobRow.event_at).execution_options(synchronize_session=False)
        ).one_or_none()
        if row is None:
            raise NotFound(f"Job {job_id!r} does not exist.")
        last, at = row
        assert at is not None  # noqa: S101 - this statement sets it
        first = last - len(entries) + 1
        events = [Event(job_id, first + i, type_, at, payload) for i, (type_, payload) in enumerate(entries)]
        self._session.add_all([JobEventRow(**event._asdict()) for event in events])
        self._session.flush()
        if any(event.type in _SUPERSEDING for event in events):
            self._delete_superseded(job_id, first)
        publish_on_commit(self._session, events)
        return events

    def _delete_superseded(self, job_id: str, seq: int) -> None:
        """Delete the progress since the last epoch before the event `seq`: the new event has its final values.

        Clients continue after the number of a deleted event as after any other.
        """
        row = JobEventRow
        epochs = select(row.seq).where(row.job_id == job_id, row.seq < seq, row.type == EventType.EPOCH)
        last_epoch = epochs.order_by(row.seq.desc()).limit(1).scalar_subquery()
        superseded = (row.seq > func.coalesce(last_epoch, 0), row.seq < seq, row.type == EventType.PROGRESS)
        statement = delete(row).where(row.job_id == job_id, *superseded)
        self._session.execute(statement.execution_options(synchronize_session=False))

    def list_after(
        self, job_id: str, seq: int, limit: int = 1000, types: Collection[EventType] | None = None
    ) -> list[Event]:
        """List the events with a number greater than `seq`, oldest first. If `types` is set, omit all others."""
        query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > seq)
        if types is not None:
            query = query.where(JobEventRow.type.in_(types))
        rows = self._session.scalars(query.order_by(JobEventRow.seq).limit(limit))
        return [Event(row.job_id, row.seq, row.type, row.at, row.payload) for row in rows]

    def list_last(self, job_id: str, seq: int, limit: int, types: Collection[EventType]) -> list[Event]:
        """List the newest events of some types with a number greater than `seq`, oldest first."""
        query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > seq)
        query = query.where(JobEventRow.type.in_(types)).order_by(JobEventRow.seq.desc())
        rows = list(self._session.scalars(query.limit(limit)))
        return [Event(row.job_id, row.seq, row.type, row.at, row.payload) for row in reversed(rows)]

    def list_transitions(self, job_id: str) -> list[Event]:
        """List all state changes of a job, oldest first."""
        return self.list_after(job_id, 0, limit=10_000, types=(EventType.STATE,))

    def get_last_epoch(self, job_id: str) -> int:
        """Return the epoch of the newest `epoch` event of a job, or 0 if it has none."""
        query = select(JobEventRow.payload).where(JobEventRow.job_id == job_id, JobEventRow.type == EventType.EPOCH)
        payload = self._session.scalars(query.order_by(JobEventRow.seq.desc()).limit(1)).one_or_none()
        return 0 if payload is None else int(payload["epoch"])

    def list_event_numbers(self, job_ids: Sequence[str]) -> list[tuple[str, JobState, int]]:
        """Return the id, the state and the number of the newest event of each job that exists."""
        query = select(JobRow.id, JobRow.state, JobRow.event_seq).where(JobRow.id.in_(job_ids))
        return [(job_id, state, number) for job_id, state, number in self._session.execute(query)]

    def get_time(self) -> datetime:
        """Return the current time of the clock that gives events their times."""
        time: datetime = self._session.scalars(select(now(self._session))).one()
        return time

    def list_changes(self, after: tuple[datetime, str], limit: int) -> list[JobChange]:
        """List the jobs whose newest event is later than `after`, a time and a job id, in the order of these times."""
        query = select(JobRow.id, JobRow.event_seq, JobRow.event_at)
        query = query.where(tuple_(JobRow.event_at, JobRow.id) > after).order_by(JobRow.event_at, JobRow.id)
        rows = self._session.execute(query.limit(limit))
        return [JobChange(job_id, seq, at) for job_id, seq, at in rows if at is not None]

    def get_number_at(self, job_id: str, at: datetime) -> int:
        """Return the number of a job's last event that is not later than `at`, or 0 if there is none."""
        query = select(JobEventRow.seq).where(JobEventRow.job_id == job_id, JobEventRow.at <= at)
        return self._session.scalars(query.order_by(JobEventRow.seq.desc()).limit(1)).one_or_none() or 0
