"""Processes that die, freeze or leave: the job ends as if they had not."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from core.db.tables import JobRow
from core.jobs import JobState
from tests.support.processes import freeze, is_alive, standing_still, wait_for
from tests.support.stack import LONG, LONGER, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def test_row_1_a_trainer_killed_in_the_middle_of_an_epoch(stack: Stack) -> None:
    job_id = stack.post(epochs=LONG)
    os.kill(stack.under_way(job_id), signal.SIGKILL)
    row = stack.finished(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert stack.weights(job_id) == stack.twin(epochs=LONG)


def test_rows_2_and_3_a_worker_killed_with_its_trainer_left_behind(stack: Stack) -> None:
    """There is no pool child: supervisors are threads of the worker's only process."""
    job_id = stack.post(epochs=LONG)
    trainer = stack.under_way(job_id)
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    wait_for(lambda: not is_alive(trainer), "the trainer to die with its worker", 20)
    stack.heal()
    row = stack.finished(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert stack.weights(job_id) == stack.twin(epochs=LONG)


def test_row_4_a_trainer_killed_in_every_attempt(stack: Stack) -> None:
    job_id = stack.post(epochs=5000)
    for attempt in range(1, 6):
        row = stack.until(job_id, lambda row, n=attempt: has_a_trainer(row, n), f"attempt {attempt}")
        os.kill(int((row.runtime or {})["trainer_pid"]), signal.SIGKILL)
        stack.until(job_id, lambda row, n=attempt: row.lost_attempts == n, "its burial")
    row = stack.finished(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.attempt) == (JobState.FAILED, "worker_lost", 5)


def has_a_trainer(row: JobRow, attempt: int) -> bool:
    """The trainer of this attempt has said who it is."""
    runtime = row.runtime or {}
    is_running = row.state is JobState.RUNNING and row.attempt == attempt
    return is_running and "trainer_pid" in runtime and is_alive(int(runtime["trainer_pid"]))


def test_row_5_a_trainer_and_its_worker_frozen_past_the_lease(stack: Stack) -> None:
    job_id = stack.post(epochs=LONG)
    trainer = stack.under_way(job_id)
    frozen = stack.worker
    assert frozen is not None
    freeze(frozen.pid, stack.sqlite)
    os.kill(trainer, signal.SIGSTOP)
    stack.worker = stack.start_worker()
    stack.until(job_id, lambda row: row.token == 2, "the other worker")
    os.kill(frozen.pid, signal.SIGCONT)
    os.kill(trainer, signal.SIGCONT)
    wait_for(lambda: not is_alive(trainer), "the stale trainer's end", 30)
    assert stack.weights(job_id) == stack.twin(epochs=LONG)
    frozen.terminate()
    assert frozen.wait(60) == 0


def test_row_5_a_trainer_frozen_alone_is_found_by_its_silence(stack: Stack) -> None:
    assert stack.worker is not None
    stack.worker.terminate()
    stack.worker.wait(60)
    stack.worker = stack.start_worker(CANDELA_STALL_S="3")
    job_id = stack.post(epochs=LONG)
    trainer = stack.under_way(job_id)
    os.kill(trainer, signal.SIGSTOP)
    row = stack.finished(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1)
    assert not is_alive(trainer)
    assert stack.weights(job_id) == stack.twin(epochs=LONG)


def test_row_6_a_supervisor_frozen_alone_loses_its_trainer_to_the_lease(stack: Stack) -> None:
    job_id = stack.post(epochs=5000)
    trainer = stack.under_way(job_id)
    assert stack.worker is not None
    freeze(stack.worker.pid, stack.sqlite)
    wait_for(lambda: not is_alive(trainer), "the trainer to stop itself", 30)
    stack.until(job_id, lambda row: row.state is JobState.QUEUED, "the sweep to find the job")
    os.kill(stack.worker.pid, signal.SIGCONT)
    stack.http.post(f"/v1/jobs/{job_id}/cancel")
    assert stack.finished(job_id).state is JobState.CANCELLED


@pytest.mark.quick
def test_row_7_a_worker_asked_to_leave(stack: Stack) -> None:
    job_id = stack.post(epochs=LONG)
    trainer = stack.under_way(job_id)
    assert stack.worker is not None
    with standing_still(trainer):  # else it may be at its end before it hears of it
        stack.worker.terminate()
        wait_for(lambda: "attempt.stop_asked" in stack.log_of(job_id), "the trainer to be asked")
    assert stack.worker.wait(60) == 0
    row = stack.job(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.QUEUED, 1, 0)
    stack.heal()
    assert stack.weights(job_id) == stack.twin(epochs=LONG)


def test_row_8_a_worker_asked_to_leave_twice_and_killed_while_it_saves(stack: Stack) -> None:
    job_id = stack.post(epochs=LONG)
    stack.under_way(job_id)
    assert stack.worker is not None
    stack.worker.terminate()
    stack.worker.terminate()
    stack.worker.kill()
    stack.worker.wait()
    stack.heal()
    assert stack.weights(job_id) == stack.twin(epochs=LONG)


@pytest.mark.quick
def test_row_43_a_job_is_cancelled_in_every_state(stack: Stack) -> None:
    running = stack.post(epochs=5000)
    trainer = stack.under_way(running)
    queued = stack.post(epochs=1)
    assert stack.http.post(f"/v1/jobs/{queued}/cancel").json()["state"] == "cancelled"
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    assert stack.finished(running).state is JobState.CANCELLED
    assert not is_alive(trainer)
    assert stack.http.post(f"/v1/jobs/{running}/cancel").status_code == 202
    forced = stack.post(epochs=5000)
    trainer = stack.under_way(forced)
    assert stack.http.post(f"/v1/jobs/{forced}/cancel?force=true").json()["state"] == "cancelled"
    wait_for(lambda: not is_alive(trainer), "the trainer's end", 20)


@pytest.mark.quick
def test_row_44_pause_restart_of_the_worker_and_resume(stack: Stack) -> None:
    job_id = stack.post(epochs=LONGER)
    stack.under_way(job_id)
    stack.http.post(f"/v1/jobs/{job_id}/pause")
    stack.until(job_id, lambda row: row.state is JobState.PAUSED, "the pause")
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    stack.heal()
    assert stack.http.post(f"/v1/jobs/{job_id}/resume").status_code == 202
    assert stack.weights(job_id) == stack.twin(epochs=LONGER)


@pytest.mark.quick
def test_row_45_the_time_of_a_job_is_up(stack: Stack) -> None:
    row = stack.finished(
        stack.post(epochs=100_000, max_runtime_s=4.0)
    )  # of a slow machine's, all may go into the start
    assert row.failure is not None
    assert (row.state, row.failure["code"]) == (JobState.FAILED, "time_limit")
    assert stack.http.get(f"/v1/jobs/{row.id}/checkpoints").json()["items"]


def test_row_38_a_trainer_that_may_have_no_more_memory(stack: Stack) -> None:
    """It says so; the worker lives and tries again, with a trainer that may."""
    (standby,) = wait_for(lambda: stack.trainers() if len(stack.trainers()) == 1 else None, "the standby alone")
    wait_for(lambda: is_idle(standby), "it to have imported what it needs")
    size = int(Path(f"/proc/{standby}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(standby, resource.RLIMIT_AS, (size + 40 * 2**20, size + 40 * 2**20))
    changes = {"architecture": {"name": "mlp", "hidden": [3000, 3000]}, "epochs": 1}  # with Adam's two: 144 MB
    row = stack.finished(job_id := stack.post(**changes))
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1), row.failure
    transitions = stack.http.get(f"/v1/jobs/{job_id}").json()["transitions"]
    assert "host_out_of_memory" in [move["reason"] for move in transitions]
    assert stack.weights(job_id) == stack.twin(**changes)


def is_idle(pid: int, for_s: float = 1.0) -> bool:
    """Whether the process uses no processor for so long."""

    def ticks() -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = ticks()
    time.sleep(for_s)
    return ticks() == before != ["0", "0"]


def test_row_35_a_loss_that_is_no_number(stack: Stack) -> None:
    job_id = stack.post(epochs=50, schedule=None, optimizer={"name": "sgd", "lr": 1e10})
    row = stack.finished(job_id)
    assert row.failure is not None
    assert (row.state, row.failure["code"], row.attempt) == (JobState.FAILED, "diverged", 1)
    assert stack.http.get(f"/v1/jobs/{job_id}/metrics").status_code == 200
