"""The one way by which a job's state changes: allowed by the life cycle, told as an event, on a locked row."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.events import EventRepo
from core.db.tables import JobRow
from core.errors import Conflict, LostLease, NotFound
from core.events import EventType
from core.jobs import ACTIVE, TERMINAL, TRANSITIONS, JobState, can_transition


def get_job_for_update(session: Session, job_id: str) -> JobRow:
    """The job, locked until the commit (on SQLite the whole transaction holds the write lock).

    Raises:
        NotFound: there is no such job.
    """
    query = select(JobRow).where(JobRow.id == job_id).with_for_update()
    job = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return job


def lock_job_for_attempt(session: Session, job_id: str, token: int) -> JobRow:
    """The job, locked until the commit, if the attempt with that token still holds it.

    Raises:
        LostLease: another attempt holds it, or none, or it is gone.
    """
    query = select(JobRow).where(JobRow.id == job_id, JobRow.token == token, JobRow.state.in_(ACTIVE))
    job = session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise LostLease(f"Token {token} does not hold job {job_id}.")
    return job


def apply_transition(session: Session, job: JobRow, target: JobState, reason: str, **values: object) -> None:
    """Change the state of a locked job, with other columns, and tell it.

    Raises:
        Conflict: the life cycle has no such move; `facts.allowed` are those it has.
        LostLease: the row changed although it was locked.
    """
    previous = job.state
    if not can_transition(previous, target):
        raise build_transition_conflict(job, f"cannot become {target}")
    values["state"] = target
    if target in TERMINAL:
        values["finished_at"] = now(session)
    if target not in ACTIVE:
        values |= {"owner": None, "lease_until": None}
    statement = update(JobRow).where(JobRow.id == job.id, JobRow.token == job.token, JobRow.state == previous)
    changed_id = session.execute(
        statement.values(**values).returning(JobRow.id).execution_options(synchronize_session=False)
    ).one_or_none()
    if changed_id is None:
        raise LostLease(f"Job {job.id} was changed by another.")
    record_transition(session, job.id, previous, target, reason)
    session.refresh(job)


def record_transition(session: Session, job_id: str, previous: JobState | None, target: JobState, reason: str) -> None:
    """These events are the job's transitions."""
    entries: list[tuple[EventType, dict[str, Any]]] = [
        (EventType.STATE, {"from": previous, "to": target, "reason": reason})
    ]
    if target in TERMINAL:
        entries.append((EventType.END, {"state": target}))
    EventRepo(session).append(job_id, entries)


def build_transition_conflict(job: JobRow, detail: str) -> Conflict:
    """What a caller is told whose wish does not fit the job's state."""
    return Conflict(f"A job that is {job.state} {detail}.", state=job.state, allowed=sorted(TRANSITIONS[job.state]))
