"""Outcomes of attempts whose trainer exited without a final message."""

import pytest

from worker.control.outcome import classify_trainer_exit


@pytest.mark.parametrize(
    ("status", "is_stalled", "has_oom_kill", "code"),
    [
        (-9, True, True, "stalled"),
        (-9, False, True, "host_out_of_memory"),
        (-9, False, False, "worker_lost"),
        (1, False, True, "worker_lost"),
        (-11, False, False, "worker_lost"),
    ],
)
def test_an_exit_is_classified(status: int, is_stalled: bool, has_oom_kill: bool, code: str) -> None:
    outcome = classify_trainer_exit(status, is_stalled=is_stalled, has_oom_kill=has_oom_kill)
    assert outcome.failure["code"] == code
