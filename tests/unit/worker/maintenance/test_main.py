"""Lost jobs are released while slower tasks of maintenance run."""

import threading
from pathlib import Path

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.schema import upgrade_schema
from core.db.session import make_engine, make_session_factory, transaction
from core.jobs import JobState
from core.settings import Settings
from tests.support.builders import dataset_version, job
from tests.support.processes import wait_for
from worker.maintenance import file_cleanup
from worker.maintenance.loop import MaintenanceLoop
from worker.maintenance.main import run


@pytest.mark.services
def test_a_lost_job_is_released_while_every_other_task_is_busy(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, may_end, stop_event = threading.Barrier(3), threading.Event(), threading.Event()

    def wait(*_: object, **__: object) -> list[str]:
        busy.wait(60)
        assert may_end.wait(60)
        return []

    monkeypatch.setattr(file_cleanup, "find_orphaned_files", wait)
    monkeypatch.setattr(MaintenanceLoop, "run_once", wait)
    settings = Settings(
        database_url=f"sqlite:///{tmp_path / 'jobs.db'}",
        redis_url=redis_url,
        storage_url=f"file://{tmp_path / 'store'}",
        cache_dir=tmp_path / "cache",
        maintenance_s=0.01,
    )
    upgrade_schema(settings.sqlalchemy_url)
    engine = make_engine(settings.sqlalchemy_url)
    sessions = make_session_factory(engine)
    with transaction(sessions) as session:
        session.add(version := dataset_version())
        session.flush()
        job_id = JobRepo(session).add(job(version)).id

    def get_state() -> JobState:
        with transaction(sessions, read_only=True) as session:
            return JobRepo(session).get(job_id).state

    maintenance = threading.Thread(target=run, args=(settings, stop_event))
    maintenance.start()
    try:
        busy.wait(60)
        with transaction(sessions) as session:
            assert AttemptRepo(session).claim(job_id, "w", -1.0) is not None
        wait_for(lambda: get_state() is JobState.QUEUED, "the release of the lost job")
    finally:
        may_end.set()
        stop_event.set()
        maintenance.join(60)
        engine.dispose()
