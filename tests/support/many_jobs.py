"""Stores many jobs and model versions with few statements, for tests of how the cost of calls grows."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.db.metric_tables import MetricSummaryRow
from core.db.registry_tables import JobTagRow
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.jobs import JobState
from tests.support.builders import dataset_version, job_spec

_START = datetime(2026, 1, 1, tzinfo=UTC)
_CHUNK = 1000
RARE = 97
"""Every 97th job has the rare values: another kind, state, name, model, dataset and tag."""


def add_jobs(session: Session, numbers: range) -> list[str]:
    """Store finished jobs, one a second, each with a metric and a tag, and return their ids."""
    datasets = {row.name: row.id for row in session.scalars(select(DatasetVersionRow))}
    if not datasets:
        rows = [dataset_version(name="common"), dataset_version(name="rare")]
        session.add_all(rows)
        session.flush()
        datasets = {row.name: row.id for row in rows}
    jobs = [_build_job(number, datasets) for number in numbers]
    for first in range(0, len(jobs), _CHUNK):
        chunk = jobs[first : first + _CHUNK]
        session.execute(insert(JobRow), chunk)
        tags = [{"job_id": job["id"], "tag": job["name"], "created_at": job["created_at"]} for job in chunk]
        session.execute(insert(JobTagRow), tags)
        values = {"name": "valid_accuracy", "last": 0.5, "best_epoch": 1}
        metrics = [{"job_id": job["id"], "best": job["duration_s"], **values} for job in chunk]
        session.execute(insert(MetricSummaryRow), metrics)
    return [job["id"] for job in jobs]


def add_versions(session: Session, name: str, count: int) -> None:
    """Store the versions 1 to `count` of a model."""
    for first in range(0, count, _CHUNK):
        numbers = range(first + 1, min(first + _CHUNK, count) + 1)
        session.execute(insert(ModelVersionRow), [_build_version(name, number) for number in numbers])


def _build_job(number: int, datasets: dict[str, str]) -> dict[str, Any]:
    is_rare, at = number % RARE == 0, _START + timedelta(seconds=number)
    name = "rare" if is_rare else "common"
    return {
        "id": uuid.uuid4().hex,
        "kind": "evaluate" if is_rare else "train",
        "name": name,
        "model_name": name,
        "spec": job_spec(),
        "dataset_version_id": datasets[name],
        "state": JobState.FAILED if is_rare else JobState.SUCCEEDED,
        "warnings": [],
        "progress": {},
        "metrics": {},
        "has_rollups": True,
        "event_at": at,
        "created_at": at,
        "finished_at": at,
        "duration_s": float(number),
    }


def _build_version(name: str, number: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": number,
        "job_id": uuid.uuid4().hex,
        "job_token": 1,
        "key": f"bundles/{name}-{number}",
        "files": {},
        "sha256": f"{number:064x}",
        "size_bytes": 1,
        "bundle": {},
        "spec": job_spec(),
        "metrics": {"valid_accuracy": 0.5},
        "dataset": {},
        "num_parameters": 10,
        "created_at": _START + timedelta(seconds=number),
    }
