"""A task of maintenance runs in its own thread, and an error ends only its round."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.processes import wait_for
from worker.maintenance.rounds import PeriodicTask


@pytest.mark.parametrize("error", [OSError("full"), OperationalError("", None, Exception()), ValueError("a bug")])
def test_an_error_ends_only_the_round(error: Exception) -> None:
    rounds: list[str] = []
    complete: list[str] = []

    def run_once() -> None:
        rounds.append("round")
        if len(rounds) == 1:
            raise error

    task = PeriodicTask("task", run_once, 0.001, lambda: complete.append("complete"))
    task.start()
    wait_for(lambda: len(complete) >= 2, "two complete rounds")
    task.request_stop()
    task.join(30)
    assert not task.is_alive()
    assert len(rounds) == len(complete) + 1


def test_a_stopped_task_does_not_wait_for_its_next_round() -> None:
    has_run = threading.Event()
    task = PeriodicTask("task", has_run.set, 3600.0)
    task.start()
    assert has_run.wait(30)
    task.request_stop()
    task.join(30)
    assert not task.is_alive()
