"""Trainings are repeated by real workers, and the results are compared with the originals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from candela.errors import Conflict
from candela.jobs import Job
from tests.e2e.conftest import Service, environment
from tests.support.processes import freeze_processes, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.services, pytest.mark.timeout(300)]
Up = Callable[..., Service]
Spec = Callable[..., dict[str, Any]]
DIGITS = {"dataset": {"name": "digits", "test": 0.1}, "architecture": {"name": "convnet", "channels": [4, 8]}}


@pytest.fixture(scope="module")
def original(service: Service) -> Job:
    """A training on digits whose number of threads, precision and device the worker chooses."""
    with service.client() as client:
        spec = {**DIGITS, "name": "original", "epochs": 2, "seed": 1, "callbacks": [{"name": "keep_best"}]}
        return client.jobs.submit(spec).wait(120).raise_for_failure()


def run_command(service: Service, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "candela", *arguments]
    variables = environment(CANDELA_URL=service.url)
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=200)


def get_result(job: Job) -> dict[str, Any]:
    """Wait for the job, and return its result."""
    result = job.wait(200).raise_for_failure().result
    assert result is not None
    return result


def test_the_same_training_is_identical(service: Service, original: Job) -> None:
    with service.client() as client:
        model = original.model
        assert model is not None
        version = client.models.get_version(model["name"], model["version"])
        first = client.models.reproduce(model["name"], model["version"], idempotency_key="once")
        assert client.models.reproduce(model["name"], model["version"], idempotency_key="once").id == first.id
        result = get_result(first)
        assert (result["verdict"], result["sha256"]) == ("identical", version["sha256"])
        assert result["original"] == {"job": original.id, "model": "original@1", "sha256": version["sha256"]}
        assert (result["first_difference"], result["environment"], result["changes"]) == (None, [], [])
        assert result["compared"]["num_losses"] >= 40
        assert result["compared"]["num_epoch_metrics"] == 8
        assert first.model is None
        assert len(client.models.versions("original")) == 1
        assert first.latest_metrics == client.jobs.get(original.id).latest_metrics


def test_another_seed_is_different_from_the_first_step_on(service: Service, original: Job) -> None:
    done = run_command(service, "reproduce", original.id[:12], "seed=2", "threads=1", "--watch")
    assert done.returncode == 1, done.stderr
    assert re.search(r"verdict +different", done.stdout), done.stdout
    assert "/seed: 2 instead of 1" in done.stdout
    step = re.search(r"step +(\d+), the first recorded one", done.stdout)
    assert step is not None
    with service.client() as client:
        job = next(iter(client.jobs.list(kind="reproduce", limit=1)))
        result = get_result(client.jobs.get(job.id))
        losses = {
            job_id: {
                point["step"]: point["value"]
                for point in client.jobs.get(job_id).metrics(name="step_loss")[0]["points"]
            }
            for job_id in (original.id, job.id)
        }
        first = result["first_difference"]
        assert first["step"] == int(step[1]) == min(losses[original.id])
        assert (first["original"], first["reproduced"]) == tuple(by_step[first["step"]] for by_step in losses.values())
        assert first["last_equal_step"] is None


def test_the_command_prints_an_identical_verdict(service: Service, original: Job) -> None:
    done = run_command(service, "reproduce", "original@latest", "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"verdict +identical", done.stdout), done.stdout


def test_a_killed_reproduction_resumes_and_is_identical(service: Service, spec: Spec) -> None:
    with service.client() as client:
        long = client.jobs.submit(spec(name="long", epochs=12)).wait(200).raise_for_failure()
        job = long.reproduce()
        wait_for(lambda: job.refresh().response["progress"]["epoch"] >= 3, "the third epoch")
        runtime: Any = job.response["runtime"]  # type: ignore[typeddict-item]  # an untyped part of the response
        with freeze_processes(runtime["trainer_pid"]):
            os.kill(runtime["trainer_pid"], signal.SIGKILL)
        result = get_result(job)
        assert (result["verdict"], job.response["attempt"]) == ("identical", 2)
        assert result["compared"]["num_losses"] >= 100


def test_a_training_that_a_user_finished_is_identical(service: Service, spec: Spec) -> None:
    with service.client() as client:
        job = client.jobs.submit(spec(name="finished", epochs=200))
        wait_for(lambda: job.refresh().response["progress"]["epoch"] >= 2, "the second epoch")
        job.finish().wait(120).raise_for_failure()
        epochs = job.response["progress"]["epoch"]
        assert epochs < 200
        again = job.reproduce()
        result = get_result(again)
        assert (result["verdict"], again.response["progress"]["epoch"]) == ("identical", epochs)


def test_a_deleted_dataset_version_is_a_conflict(service: Service, original: Job) -> None:
    with service.client() as client:
        for job in list(client.jobs.list(dataset="digits")):
            client.jobs.get(job.id).wait(120).delete()
        assert get_result(client.models.reproduce("original", 1))["environment"] is None  # its job was deleted
        (last,) = client.jobs.list(dataset="digits")
        last.delete()
        client.datasets.delete("digits", 1)
        with pytest.raises(Conflict, match="requires version 1 of dataset 'digits', which does not exist"):
            client.models.reproduce("original", 1)
