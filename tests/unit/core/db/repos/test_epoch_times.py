"""The time of an epoch, estimated from earlier jobs."""

from typing import Any

from core.db.repos.epoch_times import find_epoch_seconds
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.jobs import JobState
from tests.support.builders import dataset_version, job, job_spec


def add_ended(sessions: SessionFactory, version: DatasetVersionRow, architecture: str, **values: Any) -> None:
    """Store a job that has ended with other column values."""
    with transaction(sessions) as session:
        row = JobRepo(session).add(job(version))
        row.spec = job_spec() | {"architecture": {"name": architecture}}
        row.state, row.progress, row.duration_s = JobState.SUCCEEDED, {"epoch": 10}, 100.0
        for name, value in values.items():
            setattr(row, name, value)


def test_it_is_the_median_of_similar_jobs(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        version, other = dataset_version(name="a"), dataset_version(name="b")
        session.add_all([version, other])
        session.flush()
    for duration_s in (10.0, 20.0, 900.0):
        add_ended(sessions, version, "mlp", duration_s=duration_s)
    add_ended(sessions, version, "convnet")
    add_ended(sessions, other, "mlp")
    add_ended(sessions, version, "mlp", state=JobState.FAILED)
    add_ended(sessions, version, "mlp", milestone_epoch=3)
    add_ended(sessions, version, "mlp", progress={"epoch": 0})
    with transaction(sessions, read_only=True) as session:
        assert find_epoch_seconds(session, version.id, "mlp") == 2.0
        assert find_epoch_seconds(session, version.id, "resnet18") is None
