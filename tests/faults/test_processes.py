"""Processes that are killed, frozen or terminated: the job finishes as if nothing had happened."""

import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import transaction
from core.db.tables import JobRow
from core.jobs import JobState
from tests.support.processes import freeze, freeze_processes, is_alive, read_cpu_s, wait_for
from tests.support.stack import NUM_EPOCHS_LONG, NUM_EPOCHS_LONGER, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def test_row_1_a_killed_trainer_resumes_to_the_same_weights(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    os.kill(stack.wait_for_epoch(job_id), signal.SIGKILL)
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


def test_rows_2_and_3_a_trainer_ends_with_its_killed_worker(stack: Stack) -> None:
    """No pool process exists: supervisors are threads of the worker's only process."""
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    trainer = stack.wait_for_epoch(job_id)
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    wait_for(lambda: not is_alive(trainer), "the end of the trainer", 20)
    stack.start_missing()
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


def test_row_4_a_job_with_an_always_killed_trainer_fails(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=5000)
    for attempt in range(1, 6):
        row = stack.wait_until(job_id, lambda row, n=attempt: has_live_trainer(row, n), f"attempt {attempt}")
        os.kill(int((row.runtime or {})["trainer_pid"]), signal.SIGKILL)
        stack.wait_until(job_id, lambda row, n=attempt: row.lost_attempts == n, "the loss to be recorded")
    row = stack.wait_for_end(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.attempt) == (JobState.FAILED, "worker_lost", 5)


def has_live_trainer(row: JobRow, attempt: int) -> bool:
    """Return whether the trainer of this attempt runs and has reported its process id."""
    runtime = row.runtime or {}
    is_running = row.state is JobState.RUNNING and row.attempt == attempt
    return is_running and "trainer_pid" in runtime and is_alive(int(runtime["trainer_pid"]))


def test_row_5_a_frozen_worker_and_trainer_are_fenced(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    trainer = stack.wait_for_epoch(job_id)
    frozen = stack.worker
    assert frozen is not None
    freeze(frozen.pid, stack.sqlite)
    os.kill(trainer, signal.SIGSTOP)
    stack.worker = stack.start_worker()
    stack.wait_until(job_id, lambda row: row.token == 2, "the other worker")
    os.kill(frozen.pid, signal.SIGCONT)
    os.kill(trainer, signal.SIGCONT)
    wait_for(lambda: not is_alive(trainer), "the end of the stale trainer", 30)
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)
    frozen.terminate()
    assert frozen.wait(60) == 0


def test_row_5_a_frozen_trainer_is_killed_as_stalled(stack: Stack) -> None:
    assert stack.worker is not None
    stack.worker.terminate()
    stack.worker.wait(60)
    stack.worker = stack.start_worker(CANDELA_STALL_S="3")
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    trainer = stack.wait_for_epoch(job_id)
    os.kill(trainer, signal.SIGSTOP)
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert not is_alive(trainer)
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


def test_row_6_a_trainer_of_a_frozen_supervisor_stops_itself(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=5000)
    trainer = stack.wait_for_epoch(job_id)
    assert stack.worker is not None
    freeze(stack.worker.pid, stack.sqlite)
    wait_for(lambda: not is_alive(trainer), "the trainer to stop itself", 30)
    stack.wait_until(job_id, lambda row: row.state is JobState.QUEUED, "maintenance to release the job")
    os.kill(stack.worker.pid, signal.SIGCONT)
    stack.http.post(f"/v1/jobs/{job_id}/cancel")
    assert stack.wait_for_end(job_id).state is JobState.CANCELLED


@pytest.mark.quick
def test_row_7_a_terminated_worker_releases_its_job(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    trainer = stack.wait_for_epoch(job_id)
    assert stack.worker is not None
    with freeze_processes(trainer):  # otherwise it may finish before it receives the request
        stack.worker.terminate()
        wait_for(lambda: "attempt.stop_requested" in stack.read_job_log(job_id), "the stop request")
    assert stack.worker.wait(60) == 0
    row = stack.get_job(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.QUEUED, 1, 0)
    stack.start_missing()
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


def test_row_8_a_worker_killed_during_its_shutdown_loses_no_job(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(job_id)
    assert stack.worker is not None
    stack.worker.terminate()
    stack.worker.terminate()
    stack.worker.kill()
    stack.worker.wait()
    stack.start_missing()
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


@pytest.mark.quick
def test_row_43_a_job_is_cancelled_in_every_state(stack: Stack) -> None:
    running = stack.submit_job(epochs=5000)
    trainer = stack.wait_for_epoch(running)
    queued = stack.submit_job(epochs=1)
    assert stack.http.post(f"/v1/jobs/{queued}/cancel").json()["state"] == "cancelled"
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    assert stack.wait_for_end(running).state is JobState.CANCELLED
    assert not is_alive(trainer)
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    forced = stack.submit_job(epochs=5000)
    trainer = stack.wait_for_epoch(forced)
    assert stack.http.post(f"/v1/jobs/{forced}/cancel?force=true").json()["state"] == "cancelled"
    wait_for(lambda: not is_alive(trainer), "the end of the trainer", 20)


@pytest.mark.quick
def test_row_44_a_paused_job_resumes_after_a_worker_restart(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONGER)
    stack.wait_for_epoch(job_id)
    stack.http.post(f"/v1/jobs/{job_id}/pause")
    stack.wait_until(job_id, lambda row: row.state is JobState.PAUSED, "the pause")
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    stack.start_missing()
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONGER)


@pytest.mark.quick
def test_row_45_a_job_over_its_time_limit_fails(stack: Stack) -> None:
    # on a slow machine the start may take most of the time
    row = stack.wait_for_end(stack.submit_job(epochs=100_000, max_runtime_s=4.0))
    assert row.failure is not None
    assert (row.state, row.failure["code"]) == (JobState.FAILED, "time_limit")
    assert stack.http.get(f"/v1/jobs/{row.id}/checkpoints").json()["items"]


def test_row_38_a_trainer_without_memory_is_retried(stack: Stack) -> None:
    """The trainer reports the failure, and the worker retries with another trainer."""
    zygote = wait_for(stack.find_zygote_pid, "the process that forks trainers")
    wait_for(lambda: is_idle(zygote), "the end of its imports")
    size = int(Path(f"/proc/{zygote}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    unlimited = resource.prlimit(zygote, resource.RLIMIT_AS, (size + 40 * 2**20, resource.RLIM_INFINITY))
    changes = {"architecture": {"name": "mlp", "hidden": [3000, 3000]}, "epochs": 1}  # with Adam's state: 144 MB
    job_id = stack.submit_job(**changes)
    wait_for(stack.list_trainer_pids, "the first trainer, which inherits the limit")
    resource.prlimit(zygote, resource.RLIMIT_AS, unlimited)
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1), row.failure
    transitions = stack.http.get(f"/v1/jobs/{job_id}").json()["transitions"]
    assert "host_out_of_memory" in [move["reason"] for move in transitions]
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(**changes)


def is_idle(pid: int, for_s: float = 1.0) -> bool:
    """Return whether the process uses no CPU time for so long."""
    before = read_cpu_s(pid)
    time.sleep(for_s)
    return read_cpu_s(pid) == before > 0


def test_row_35_a_diverging_job_fails(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=50, schedule=None, optimizer={"name": "sgd", "lr": 1e10})
    row = stack.wait_for_end(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.attempt) == (JobState.FAILED, "diverged", 1)
    assert stack.http.get(f"/v1/jobs/{job_id}/metrics").status_code == 200


@pytest.mark.parametrize("victim", ["trainer", "worker"])
def test_a_job_killed_between_its_milestone_and_its_pause_pauses_there(stack: Stack, victim: str) -> None:
    def kill_at_milestone() -> JobRow:
        job_id = stack.submit_job(epochs=6, milestones={"epochs": [3]})
        stack.wait_until(job_id, lambda row: has_checkpoint(stack, row.id, epoch=3), "the milestone")
        kill(stack, job_id, victim)
        stack.start_missing()
        return stack.wait_until(job_id, lambda row: row.state is JobState.PAUSED, "the pause")

    row = kill_at_milestone()
    for _ in range(9):
        if row.lost_attempts:  # the kill came before the pause
            break
        row = kill_at_milestone()
    job_id = row.id
    assert (row.stop_reason, row.milestone_epoch, row.attempt, row.lost_attempts) == ("milestone", 3, 2, 1)
    checkpoints = stack.http.get(f"/v1/jobs/{job_id}/checkpoints").json()["items"]
    assert checkpoints[-1]["epoch"] == 3
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    assert stack.get_weights_sha256(job_id) == stack.compute_reference_sha256(epochs=6)


def has_checkpoint(stack: Stack, job_id: str, epoch: int) -> bool:
    with transaction(stack.sessions, read_only=True) as session:
        return any(row.epoch == epoch for row in CheckpointRepo(session).list_checkpoints(job_id))


def kill(stack: Stack, job_id: str, victim: str) -> None:
    """Kill the trainer of a job, or the worker and with it the trainer."""
    if victim == "worker":
        assert stack.worker is not None
        stack.worker.kill()
        stack.worker.wait()
        return
    with suppress(ProcessLookupError):  # it has ended
        os.kill(int((stack.get_job(job_id).runtime or {})["trainer_pid"]), signal.SIGKILL)
