"""Changes the state of jobs: checks the transition, updates the locked row and records an event."""

from collections.abc import Collection
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
    """Lock a job until the commit and return it. On SQLite, the transaction already holds the write lock.

    Raises:
        NotFound: the job does not exist.
    """
    query = select(JobRow).where(JobRow.id == job_id).with_for_update()
    job = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise NotFound(f"Job {job_id!r} does not exist.")
    return job


def lock_jobs(session: Session, job_ids: Collection[str]) -> list[JobRow]:
    """Lock jobs until the commit and return those that exist, oldest first: the order in which all lock several."""
    query = select(JobRow).where(JobRow.id.in_(job_ids)).order_by(JobRow.created_at, JobRow.id).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def lock_job_for_attempt(session: Session, job_id: str, token: int) -> JobRow:
    """Lock a job until the commit and return it, if the attempt with this token holds its lease.

    Raises:
        LostLease: a different attempt holds the lease, or the job has ended or was deleted.
    """
    query = select(JobRow).where(JobRow.id == job_id, JobRow.token == token, JobRow.state.in_(ACTIVE))
    job = session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()
    if job is None:
        raise LostLease(f"Token {token} does not hold the lease of job {job_id}.")
    return job


def apply_transition(session: Session, job: JobRow, target: JobState, reason: str, **values: object) -> None:
    """Change the state and other columns of a locked job, and record the change as an event.

    Raises:
        Conflict: the transition is not allowed; `extra["allowed"]` lists the allowed states.
        LostLease: a different process changed the row despite the lock.
    """
    previous = job.state
    if not can_transition(previous, target):
        raise build_transition_conflict(job, f"cannot become {target}")
    values["state"] = target
    if target is JobState.QUEUED:
        values["queued_at"] = now(session)
    if target in TERMINAL:
        values["finished_at"] = now(session)
    if target not in ACTIVE:
        values |= {"owner": None, "lease_until": None}
        if job.progress.get("eta_seconds") is not None:  # only a running job has a remaining time
            values = {"progress": {**job.progress, "eta_seconds": None}} | values
    statement = update(JobRow).where(JobRow.id == job.id, JobRow.token == job.token, JobRow.state == previous)
    changed_id = session.execute(
        statement.values(**values).returning(JobRow.id).execution_options(synchronize_session=False)
    ).one_or_none()
    if changed_id is None:
        raise LostLease(f"Job {job.id} was changed by another process.")
    record_transition(session, job.id, previous, target, reason)
    session.refresh(job)
    if job.finished_at is not None and job.started_at is not None:  # both times are those of the database's clock
        job.duration_s = (job.finished_at - job.started_at).total_seconds()
        session.flush()


def record_transition(session: Session, job_id: str, previous: JobState | None, target: JobState, reason: str) -> None:
    """Store the `state` event of a transition, and the `end` event if the job ends."""
    entries: list[tuple[EventType, dict[str, Any]]] = [
        (EventType.STATE, {"from": previous, "to": target, "reason": reason})
    ]
    if target in TERMINAL:
        entries.append((EventType.END, {"state": target}))
    EventRepo(session).append(job_id, entries)


def build_transition_conflict(job: JobRow, detail: str) -> Conflict:
    """Build the Conflict error for a request that the state of the job does not allow."""
    allowed = set() if job.state is JobState.FAILED else TRANSITIONS[job.state]  # no client continues a failed job
    return Conflict(f"A job that is {job.state} {detail}.", state=job.state, allowed=sorted(allowed))
