"""kill -9 anywhere: no process is left, no job is lost, and its weights are those of an undisturbed run."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from candela import Client
from candela.jobs import Job
from tests.e2e.conftest import Service
from tests.support.processes import is_alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(280)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]
LONG = {"epochs": 12}


@pytest.fixture
def weights() -> Callable[[Client, Job], str]:
    """The sha256 of what a job has registered."""

    def of(client: Client, job: Job) -> str:
        model = job.wait(timeout_s=200).check().model
        assert model is not None
        sha256: str = client.models.version(model["name"], model["version"])["sha256"]
        return sha256

    return of


@pytest.fixture
def mid_epoch() -> Callable[[Job], Any]:
    """Wait until a job is in the middle of an epoch, with some behind it."""
    return lambda job: wait_for(lambda: job.refresh().answer["progress"].get("epoch", 0) >= 3, "the third epoch")


def test_a_killed_service_leaves_no_process_and_its_job_ends_as_if_undisturbed(
    up: Up, spec: Spec, weights: Any, mid_epoch: Any
) -> None:
    service = up()
    with service.client() as client:
        undisturbed = weights(client, client.jobs.submit(spec(**LONG)))
        job = client.jobs.submit(spec(**LONG))
        mid_epoch(job)
    status, _, _ = service.end(signal.SIGKILL)
    assert status == -signal.SIGKILL
    again = up(service.home)  # at once: the kernel may still be busy ending the old parts
    with again.client() as client:
        interrupted = client.jobs.get(job.id)
        assert weights(client, interrupted) == undisturbed
        assert interrupted.answer["attempt"] == 2
    again.end()
    service.wait_until_gone()


@pytest.mark.parametrize("part", ["worker.trainer", "celery", "valkey-server", "candela.serve"])
def test_a_killed_part_comes_back_and_the_job_ends_as_if_undisturbed(
    up: Up, spec: Spec, weights: Any, mid_epoch: Any, part: str
) -> None:
    service = up()
    with service.client() as client:
        undisturbed = weights(client, client.jobs.submit(spec(**LONG)))
        job = client.jobs.submit(spec(**LONG))
        mid_epoch(job)
        victims = [pid for pid, command in service.processes().items() if part in command]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in victims), "their end")
        wait_for(lambda: [pid for pid, command in service.processes().items() if part in command], "a new one")
        wait_for(client.is_ready, "readiness")
        assert weights(client, job) == undisturbed
    status, printed, _ = service.end()
    assert (status, printed) == (0, "")
    service.wait_until_gone()
