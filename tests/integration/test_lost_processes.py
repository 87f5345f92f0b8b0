"""Killed processes are replaced, and the weights equal those of an undisturbed run."""

import os
import signal

import pytest

from core.jobs import JobState
from tests.support.processes import is_alive, wait_for
from tests.support.service import WorkerProcesses

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def get_trainer_pid(service: WorkerProcesses, job_id: str) -> int:
    runtime = service.get_job(job_id).runtime
    assert runtime is not None
    return int(runtime["trainer_pid"])


def test_a_killed_trainer_and_a_killed_worker_change_no_weights(service: WorkerProcesses) -> None:
    worker = service.start_worker()
    service.start_maintenance()
    undisturbed = service.submit()
    assert service.wait_for_end(undisturbed).state is JobState.SUCCEEDED, service.read_logs()

    trainer_killed = service.submit()
    service.wait_for_mid_epoch(trainer_killed)
    os.kill(get_trainer_pid(service, trainer_killed), signal.SIGKILL)
    row = service.wait_for_end(trainer_killed)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert service.get_model(trainer_killed).sha256 == service.get_model(undisturbed).sha256

    worker_killed = service.submit()
    service.wait_for_mid_epoch(worker_killed)
    trainer = get_trainer_pid(service, worker_killed)
    worker.kill()
    worker.wait()
    wait_for(lambda: not is_alive(trainer), "the end of the trainer", 20)
    service.start_worker()
    row = service.wait_for_end(worker_killed)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert service.get_model(worker_killed).sha256 == service.get_model(undisturbed).sha256
