"""What dies is replaced, and the weights are those of a run that nobody disturbed."""

import os
import signal

import pytest

from core.jobs import JobState
from tests.support.processes import is_alive, wait_for
from tests.support.service import Service

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def trainer_of(service: Service, job_id: str) -> int:
    runtime = service.job(job_id).runtime
    assert runtime is not None
    return int(runtime["trainer_pid"])


def test_a_killed_trainer_and_a_killed_worker_change_no_weight(service: Service) -> None:
    worker = service.start_worker()
    service.start_sweep()
    undisturbed = service.submit()
    assert service.finished(undisturbed).state is JobState.SUCCEEDED, service.logs()

    bereft_of_trainer = service.submit()
    service.mid_epoch(bereft_of_trainer)
    os.kill(trainer_of(service, bereft_of_trainer), signal.SIGKILL)
    row = service.finished(bereft_of_trainer)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert service.model(bereft_of_trainer).sha256 == service.model(undisturbed).sha256

    bereft_of_worker = service.submit()
    service.mid_epoch(bereft_of_worker)
    trainer = trainer_of(service, bereft_of_worker)
    worker.kill()
    worker.wait()
    wait_for(lambda: not is_alive(trainer), "the trainer to die with its worker", 20)
    service.start_worker()
    row = service.finished(bereft_of_worker)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert service.model(bereft_of_worker).sha256 == service.model(undisturbed).sha256
