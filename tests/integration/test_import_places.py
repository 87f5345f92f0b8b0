"""Imports and trainings of one worker with real processes: neither waits for the other's places."""

import pytest

from core.db.repos.datasets import DatasetRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import transaction
from core.jobs import DatasetState, JobState
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from tests.support.processes import freeze_processes, list_children, read_command, wait_for
from tests.support.service import SYNTHETIC, WorkerProcesses

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
PLACES = 3  # as many as the worker has threads for messages


def submit_imports(service: WorkerProcesses, count: int) -> list[str]:
    """Store versions of datasets and send the messages of their imports."""
    with transaction(service.sessions) as session:
        ids = []
        for number in range(count):
            source = {"kind": "builtin", "options": SYNTHETIC | {"seed": 100 + number}}
            version = DatasetRepo(session).add("synthetic", source)
            OutboxRepo(session).add("import", version.id)
            ids.append(version.id)
    OutboxRelay(service.sessions, CeleryQueue(service.redis_url)).relay()
    return ids


def get_state(service: WorkerProcesses, version_id: str) -> DatasetState:
    with transaction(service.sessions, read_only=True) as session:
        return DatasetRepo(session).get(version_id).state


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_training_runs_while_imports_take_all_their_places(service: WorkerProcesses) -> None:
    worker = service.start_worker(CANDELA_SLOTS="1", CANDELA_IMPORT_SLOTS=str(PLACES))
    first = service.submit(epochs=1)  # imports the dataset of the trainings
    assert service.wait_for_end(first).state is JobState.SUCCEEDED, service.read_logs()
    ids = submit_imports(service, PLACES + 2)

    def find_packers() -> list[int]:
        return [pid for pid in list_children(worker.pid) if b"worker.importing.process" in read_command(pid)]

    packers = wait_for(lambda: found if len(found := find_packers()) == PLACES else None, "an import in each place")
    with freeze_processes(*packers):
        second = service.submit(epochs=1)
        assert service.wait_for_end(second).state is JobState.SUCCEEDED, service.read_logs()
        assert find_packers() == packers  # no further import has started
        assert [get_state(service, version_id) for version_id in ids] == [DatasetState.IMPORTING] * len(ids)
    wait_for(lambda: all(get_state(service, one) is DatasetState.READY for one in ids), "all imports", 240)
