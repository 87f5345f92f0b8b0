"""Queries for job events. New events of a job get consecutive numbers, in commit order."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from core.db import clock
from core.db.base import UtcDateTime
from core.db.clock import now
from core.db.session import publish_on_commit
from core.db.tables import METADATA, JobEventRow, JobRow
from core.errors import LostLease, NotFound
from core.events import Event, EventType
from core.jobs import ACTIVE, JobState

_JOBS, _EVENTS = (METADATA.tables[row.__tablename__] for row in (JobRow, JobEventRow))
_INSERT_EVENTS = insert(_EVENTS)
_SUPERSEDING = (EventType.EPOCH, EventType.END)
_NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


@lru_cache
def _build_update(*, is_server_time: bool, is_fenced: bool) -> ReturningUpdate[tuple[int, datetime | None]]:
    statement = update(_JOBS).where(_JOBS.c.id == bindparam("of_job"))
    if is_fenced:
        statement = statement.where(_JOBS.c.token == bindparam("of_token"), _JOBS.c.state.in_(ACTIVE))
    statement = statement.values(event_seq=_JOBS.c.event_seq + bindparam("num_events"))
    if is_server_time:
        statement = statement.values(event_at=func.clock_timestamp(type_=UtcDateTime()))
    return statement.returning(_JOBS.c.event_seq, _JOBS.c.event_at)


class JobChange(NamedTuple):
    """A job with the number and the time of its newest event."""

    job_id: str
    seq: int
    at: datetime


class EventRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def append(
        self,
        job_id: str,
        entries: Sequence[tuple[EventType, dict[str, Any]]],
        changes: Mapping[str, Any] = _NO_CHANGES,
        token: int | None = None,
    ) -> list[Event]:
        """Store events of a job. They are published on the event bus after the commit.

        An epoch and the end of a job supersede the progress before them, which is deleted.
        Event numbers are taken from a counter in the job's row. The row is locked until the commit, so that events
        become visible in the order of their numbers. The same statement makes other `changes` of the job's columns.

        Raises:
            NotFound: the job does not exist.
            LostLease: `token` is set, and the attempt with this token does not hold the lease of the job.
        """
        if not entries and not changes:
            return []
        # Tables, the connection and kept statements take less time than the ORM: running jobs have events all the time.
        self._session.flush()
        connection = self._session.connection()
        is_server_time = bool(entries) and connection.dialect.name == "postgresql"
        values = {**changes, "of_job": job_id, "num_events": len(entries)}
        if entries and not is_server_time:
            values["event_at"] = clock.utc_now()
        if token is not None:
            values["of_token"] = token
        statement = _build_update(is_server_time=is_server_time, is_fenced=token is not None)
        row = connection.execute(statement, values).one_or_none()  # also sets the columns that `changes` names
        if row is None and token is not None:
            raise LostLease(f"Token {token} does not hold the lease of job {job_id}.")
        if row is None:
            raise NotFound(f"Job {job_id!r} does not exist.")
        last, time = row.event_seq, row.event_at
        first = last - len(entries) + 1
        events = [Event(job_id, first + i, type_, time, payload) for i, (type_, payload) in enumerate(entries)]
        if events:
            connection.execute(_INSERT_EVENTS, [event._asdict() for event in events])
        if any(event.type in _SUPERSEDING for event in events):
            self._delete_superseded(job_id, first)
        publish_on_commit(self._session, events)
        return events

    def _delete_superseded(self, job_id: str, seq: int) -> None:
        """Delete the progress between the last epoch before the event `seq` and this event, which supersedes it.

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
