"""Messages of the queue: run a job, import a dataset, or prove that the queue works."""

import threading
from typing import Any

import pytest

from core.db.repos.datasets import DatasetRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.jobs import JobState
from core.queue import CANARY
from tests.support.processes import wait_for
from tests.support.supervision import GetJob, SupervisorFactory
from worker.control.supervisor import Supervisor
from worker.slots import Slots
from worker.tasks import Tasks


class RecordingImporter:
    """Records which versions are to be imported. An import ends when `is_done` is set."""

    def __init__(self, sessions: SessionFactory) -> None:
        self.version_ids: list[str] = []
        self.is_done = threading.Event()
        self.is_done.set()
        self._sessions = sessions

    def run(self, version_id: str) -> bool:
        self.version_ids.append(version_id)
        assert self.is_done.wait(60)
        with transaction(self._sessions) as session:
            if DatasetRepo(session).claim(version_id, "worker", 60) is not None:
                DatasetRepo(session).fail(version_id, 1, {}, None)
        return True


@pytest.fixture
def importer(sqlite_sessions: SessionFactory) -> RecordingImporter:
    return RecordingImporter(sqlite_sessions)


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def supervisor(make_supervisor: SupervisorFactory) -> Supervisor:
    return make_supervisor("succeed")


@pytest.fixture
def tasks(supervisor: Supervisor, sqlite_sessions: SessionFactory, importer: Any, messages: list[str]) -> Tasks:
    return Tasks(sqlite_sessions, supervisor, importer, Slots(1), on_message=lambda: messages.append("message"))


@pytest.mark.usefixtures("queued")
def test_a_message_about_no_job_runs_the_queued_one(tasks: Tasks, get_job: GetJob, messages: list[str]) -> None:
    tasks.train("no-such-job")
    assert get_job().state is JobState.SUCCEEDED
    assert messages == ["message"]


def test_a_canary_is_only_counted(tasks: Tasks, get_job: GetJob, messages: list[str]) -> None:
    tasks.train(CANARY)
    assert (get_job().state, messages) == (JobState.QUEUED, ["message"])


def test_an_import_is_run(tasks: Tasks, importer: RecordingImporter, messages: list[str]) -> None:
    tasks.import_dataset("version")
    tasks.close()
    assert (importer.version_ids, messages) == (["version"], ["message"])


def test_imports_that_wait_are_run_after_the_first(
    tasks: Tasks, importer: RecordingImporter, sqlite_sessions: SessionFactory
) -> None:
    with transaction(sqlite_sessions) as session:
        ids = [DatasetRepo(session).add(name, {"kind": "builtin", "options": {}}).id for name in ("first", "second")]
    importer.is_done.clear()
    tasks.import_dataset(ids[0])
    wait_for(lambda: importer.version_ids == ids[:1], "the first import")
    tasks.import_dataset(ids[1])
    assert importer.version_ids == ids[:1]
    importer.is_done.set()
    wait_for(lambda: importer.version_ids == ids, "the second import")
    tasks.close()


@pytest.mark.usefixtures("queued")
def test_a_job_runs_in_the_thread_of_its_message_while_an_import_runs(
    tasks: Tasks, importer: RecordingImporter, get_job: GetJob
) -> None:
    importer.is_done.clear()
    tasks.import_dataset("version")
    wait_for(lambda: importer.version_ids == ["version"], "the import")
    tasks.train("no-such-job")
    assert get_job().state is JobState.SUCCEEDED
    importer.is_done.set()
    tasks.close()


def test_nothing_is_run_during_a_shutdown(
    tasks: Tasks, supervisor: Supervisor, importer: RecordingImporter, get_job: GetJob, queued: JobRow
) -> None:
    supervisor.request_shutdown()
    tasks.train(queued.id)
    tasks.import_dataset("version")
    assert (get_job().state, importer.version_ids) == (JobState.QUEUED, [])
