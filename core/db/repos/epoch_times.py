"""Estimates how long an epoch takes from earlier jobs."""

import statistics

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import JobRow
from core.jobs import JobState

MAX_JOBS = 100
"""Newest jobs that are read."""


def find_epoch_seconds(session: Session, dataset_version_id: str, architecture: str) -> float | None:
    """Return the median time of an epoch in seconds, over the newest jobs with this dataset and architecture.

    Jobs that were paused at milestones are left out, because their duration includes the pauses. None: there are none.
    """
    query = select(JobRow.duration_s, JobRow.progress, JobRow.spec["architecture"]["name"].as_string())
    query = query.where(JobRow.dataset_version_id == dataset_version_id, JobRow.milestone_epoch == 0)
    query = query.where(JobRow.state == JobState.SUCCEEDED, JobRow.kind == "train")
    rows = session.execute(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(MAX_JOBS))
    times = [
        duration_s / progress["epoch"]
        for duration_s, progress, name in rows
        if name == architecture and duration_s and progress.get("epoch")
    ]
    return statistics.median(times) if times else None
