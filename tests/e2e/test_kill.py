"""kill -9 anywhere: no process is left, no job is lost, and its weights are those of an undisturbed run."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from candela import Client
from candela.jobs import Job
from tests.e2e.conftest import Service
from tests.support.processes import is_alive, standing_still, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(600)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]
LONG = {"epochs": 12}


@pytest.fixture(scope="module")
def service(shared_up: Up) -> Service:
    return shared_up()


@pytest.fixture(scope="module")
def undisturbed(service: Service, spec: Spec) -> str:
    """The weights of the job when nobody kills anything."""
    with service.client() as client:
        return weights(client, client.jobs.submit(spec(**LONG)))


def weights(client: Client, job: Job) -> str:
    """The sha256 of what a job registers in the end."""
    model = job.wait(timeout_s=200).check().model
    assert model is not None
    sha256: str = client.models.version(model["name"], model["version"])["sha256"]
    return sha256


@contextmanager
def in_the_middle(job: Job) -> Iterator[None]:
    """The job is in its third epoch or a later one, and gets no further meanwhile."""
    wait_for(lambda: job.refresh().answer["progress"]["epoch"] >= 3, "the third epoch")
    runtime: Any = job.answer["runtime"]  # type: ignore[typeddict-item]  # for people, not for programs
    with standing_still(runtime["trainer_pid"]):
        assert not job.refresh().is_finished
        yield


@pytest.mark.parametrize("part", ["worker.trainer", "celery", "valkey-server", "candela.serve"])
def test_a_killed_part_comes_back_and_the_job_ends_as_if_undisturbed(
    service: Service, spec: Spec, undisturbed: str, part: str
) -> None:
    with service.client() as client:
        job = client.jobs.submit(spec(**LONG))
        with in_the_middle(job):
            victims = [pid for pid, command in service.processes().items() if part in command]
            assert victims
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in victims), "their end")
        wait_for(lambda: [pid for pid, command in service.processes().items() if part in command], "a new one")
        wait_for(client.is_ready, "readiness")
        assert weights(client, job) == undisturbed
        assert job.answer["attempt"] == (2 if part in {"worker.trainer", "celery"} else 1)


def test_a_killed_service_leaves_no_process_and_its_job_ends_as_if_undisturbed(
    up: Up, spec: Spec, undisturbed: str
) -> None:
    first = up()
    with first.client() as client:
        job = client.jobs.submit(spec(**LONG))
        with in_the_middle(job):
            parts = first.processes()
            assert any("valkey-server" in command for command in parts.values())
            assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = up(first.home)  # at once: the kernel may still be busy ending the old parts
    wait_for(lambda: not any(is_alive(pid) for pid in parts), "the end of the old parts")
    with second.client() as client:
        interrupted = client.jobs.get(job.id)
        assert weights(client, interrupted) == undisturbed
        assert interrupted.answer["attempt"] == 2
    assert second.end()[:2] == (0, "")
    second.wait_until_gone()
