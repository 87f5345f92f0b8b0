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
    may_end, stop_event = threading.Event(), threading.Event()
    is_busy = {"file cleanup": threading.Event(), "loop": threading.Event()}

    def wait(task: str) -> list[str]:
        is_busy[task].set()
        assert may_end.wait(120)
        return []

    monkeypatch.setattr(file_cleanup, "find_orphaned_files", lambda *_, **__: wait("file cleanup"))
    monkeypatch.setattr(MaintenanceLoop, "run_once", lambda _: wait("loop"))
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
        assert all(event.wait(60) for event in is_busy.values())
        with transaction(sessions) as session:
            assert AttemptRepo(session).claim(job_id, "w", -1.0) is not None
        wait_for(lambda: get_state() is JobState.QUEUED, "the release of the lost job")
    finally:
        stop_event.set()  # first, so that no task begins again
        may_end.set()
        maintenance.join(60)
        engine.dispose()
    assert not maintenance.is_alive()
