"""Fills a database with queued jobs and finished jobs, in bulk."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from core.db.base import Base
from core.db.clock import utc_now
from core.db.repos.spec_columns import build_spec_columns
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, JobEventRow, JobRow, ModelVersionRow
from core.events import EventType
from core.jobs import DatasetState, JobState
from core.spec import JobSpec
from tests.support.builders import dataset_version, job_spec

CHUNK = 1000
NUM_CHECKPOINTS = 2
AGE = timedelta(days=1)


def fill_queue(
    sessions: SessionFactory,
    num_queued: int,
    *,
    num_finished: int = 0,
    device: str = "auto",
    is_resolved: bool = True,
    dataset_state: DatasetState = DatasetState.READY,
) -> list[str]:
    """Store jobs of one dataset that were queued a day ago, and finished jobs. Return the ids of the finished jobs.

    Each finished job has two checkpoints and a model version.
    """
    spec = JobSpec.model_validate(job_spec(device=device)).model_dump(mode="json")
    now = utc_now() - AGE
    with transaction(sessions) as session:
        version = dataset_version(state=dataset_state)
        session.add(version)
        session.flush()
        shared: dict[str, Any] = {"dataset_version_id": version.id, "spec": spec, "is_resolved": is_resolved}
    shared |= build_spec_columns(spec)
    finished = [uuid.uuid4().hex for _ in range(num_finished)]
    jobs = [_build_job(uuid.uuid4().hex, now + timedelta(milliseconds=n), **shared) for n in range(num_queued)]
    ended = {"state": JobState.SUCCEEDED, "started_at": now, "finished_at": now, "duration_s": 60.0, "token": 1}
    jobs += [_build_job(job_id, now, **shared | ended) for job_id in finished]
    events = (_build_event(row["id"], now) for row in jobs)
    checkpoints = (_build_checkpoint(job_id, n, now) for job_id in finished for n in range(NUM_CHECKPOINTS))
    versions = (_build_version(job_id, now) for job_id in finished)
    for table, rows in (
        (JobRow, jobs),
        (JobEventRow, events),
        (CheckpointRow, checkpoints),
        (ModelVersionRow, versions),
    ):
        _insert_all(sessions, table, rows)
    return finished


def _build_job(job_id: str, created_at: datetime, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": job_id,
        "kind": "train",
        "name": "tiny",
        "model_name": "tiny",
        "state": JobState.QUEUED,
        "priority": 0,
        "warnings": [],
        "progress": {},
        "metrics": {},
        "attempt": 0,
        "lost_attempts": 0,
        "token": 0,
        "event_seq": 1,
        "queued_at": created_at,
        "tags": [],
        "has_rollups": True,
        "created_at": created_at,
    }
    return values | changes


def _build_event(job_id: str, at: datetime) -> dict[str, Any]:
    payload = {"from": None, "to": JobState.QUEUED, "reason": "submitted"}
    return {"job_id": job_id, "seq": 1, "type": EventType.STATE, "at": at, "payload": payload}


def _build_checkpoint(job_id: str, number: int, created_at: datetime) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "number": number,
        "token": 1,
        "epoch": number,
        "step": number,
        "metrics": {},
        "tags": [],
        "key": f"jobs/{job_id}/t1/checkpoints/{number}",
        "files": {},
        "sha256": "0" * 64,
        "size_bytes": 1,
        "created_at": created_at,
    }


def _build_version(job_id: str, created_at: datetime) -> dict[str, Any]:
    return {
        "name": job_id,
        "version": 1,
        "job_id": job_id,
        "job_token": 1,
        "key": f"jobs/{job_id}/t1/bundle",
        "files": {},
        "sha256": "0" * 64,
        "size_bytes": 1,
        "bundle": {},
        "spec": {},
        "metrics": {},
        "dataset": {},
        "num_parameters": 1,
        "created_at": created_at,
    }


def _insert_all(sessions: SessionFactory, table: type[Base], rows: Iterable[Mapping[str, Any]]) -> None:
    chunk: list[Mapping[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            _insert(sessions, table, chunk)
            chunk = []
    _insert(sessions, table, chunk)


def _insert(sessions: SessionFactory, table: type[Base], rows: list[Mapping[str, Any]]) -> None:
    with transaction(sessions) as session:
        if rows:
            session.execute(insert(table), rows)
