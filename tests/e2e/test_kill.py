"""SIGKILL to any process: no process is left over, no job is lost, and the final weights are identical."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from candela import Client
from candela.jobs import Job
from tests.e2e.conftest import Service
from tests.support.processes import freeze_processes, is_alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]
WORKER = "-m worker "  # in the command of the Celery worker
LONG = {"epochs": 12}


@pytest.fixture(scope="module")
def undisturbed(service: Service, spec: Spec) -> str:
    """The checksum of the weights of an undisturbed job."""
    with service.client() as client:
        return get_weights_checksum(client, client.jobs.submit(spec(**LONG)))


def get_weights_checksum(client: Client, job: Job) -> str:
    """Wait for the job and return the sha256 of its model."""
    model = job.wait(timeout_s=200).raise_for_failure().model
    assert model is not None
    sha256: str = client.models.get_version(model["name"], model["version"])["sha256"]
    return sha256


@contextmanager
def pause_trainer(job: Job) -> Iterator[None]:
    """Freeze the job's trainer in its third epoch or a later one while the context is open."""
    wait_for(lambda: job.refresh().response["progress"]["epoch"] >= 3, "the third epoch")
    runtime: Any = job.response["runtime"]  # type: ignore[typeddict-item]  # an untyped part of the response
    with freeze_processes(runtime["trainer_pid"]):
        assert not job.refresh().is_finished
        yield


@pytest.mark.parametrize("component", ["worker.trainer", WORKER, "valkey-server", "candela.serve"])
def test_a_killed_component_restarts_and_the_job_finishes(
    service: Service, spec: Spec, undisturbed: str, component: str
) -> None:
    with service.client() as client:
        job = client.jobs.submit(spec(**LONG))
        with pause_trainer(job):
            victims = [pid for pid, command in service.processes().items() if component in command]
            assert victims
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in victims), "the end of the processes")
        wait_for(lambda: [pid for pid, command in service.processes().items() if component in command], "a new process")
        wait_for(client.is_ready, "readiness")
        assert get_weights_checksum(client, job) == undisturbed
        assert job.response["attempt"] == (2 if component in {"worker.trainer", WORKER} else 1)


def test_a_killed_service_leaves_no_process_and_its_job_resumes(up: Up, spec: Spec, undisturbed: str) -> None:
    first = up()
    with first.client() as client:
        job = client.jobs.submit(spec(**LONG))
        with pause_trainer(job):
            processes = first.processes()
            assert any("valkey-server" in command for command in processes.values())
            assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = up(first.home)  # immediately, while old processes may still be ending
    wait_for(lambda: not any(is_alive(pid) for pid in processes), "the end of the old processes")
    with second.client() as client:
        interrupted = client.jobs.get(job.id)
        assert get_weights_checksum(client, interrupted) == undisturbed
        assert interrupted.response["attempt"] == 2
    assert second.end()[:2] == (0, "")
    second.wait_until_gone()
