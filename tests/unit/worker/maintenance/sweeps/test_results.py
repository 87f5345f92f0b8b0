"""What became of a trial, from the states of its jobs."""

from typing import Any

import pytest

from core.db.session import transaction
from core.db.tables import JobRow
from core.failures import build_failure
from core.jobs import JobState as J
from core.sweeps.states import TrialState as S
from core.sweeps.trials import SweepTrial
from tests.support.played_sweeps import StartSweep
from worker.maintenance.sweeps.results import find_end, has_reached, read_values

TRIAL = SweepTrial(0, S.RUNNING, epochs=3)
ERRORS = {"errors": [{"pointer": "/loss", "detail": "is unknown"}]}


def job(state: J = J.RUNNING, code: str | None = None, **fields: Any) -> JobRow:
    failure = None if code is None else build_failure(code, extra=ERRORS)
    return JobRow(
        state=state, failure=failure, **{"is_resolved": True, "stop_reason": None, "milestone_epoch": 0} | fields
    )


@pytest.mark.parametrize(
    ("jobs", "state", "reason"),
    [
        ([job(J.FAILED, "invalid_spec", is_resolved=False)], S.REFUSED, "/loss is unknown"),
        ([job(J.FAILED, "invalid_spec")], S.FAILED, "invalid_spec: "),
        ([job(J.FAILED, "diverged")], S.FAILED, "diverged: "),
        ([job(J.FAILED, "dependency_failed", is_resolved=False)], S.FAILED, "dependency_failed: "),
        ([job(J.FAILED, "worker_lost")], S.INTERRUPTED, "worker_lost: "),
        ([job(J.FAILED, "worker_lost"), job(J.FAILED, "diverged")], S.FAILED, "diverged: "),
        ([job(J.CANCELLED, stop_reason="user_cancelled")], S.STOPPED, "job_cancelled"),
        ([job(J.CANCELLED, stop_reason="sweep_cancelled")], S.STOPPED, "sweep_ended"),
        ([], S.STOPPED, "job_deleted"),
    ],
)
def test_a_trial_ends_with_its_first_job(jobs: list[JobRow], state: S, reason: str) -> None:
    end = find_end(TRIAL, jobs, max(len(jobs), 1))
    assert end is not None
    assert end.state is state
    assert end.reason.startswith(reason)


@pytest.mark.parametrize("state", [J.QUEUED, J.RUNNING, J.PAUSING, J.PAUSED, J.CANCELLING, J.SUCCEEDED])
def test_other_states_do_not_end_a_trial(state: J) -> None:
    assert find_end(TRIAL, [job(state)], 1) is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (job(J.PAUSED, stop_reason="milestone", milestone_epoch=3), True),
        (job(J.PAUSED, stop_reason="milestone", milestone_epoch=9), True),
        (job(J.PAUSED, stop_reason="milestone", milestone_epoch=1), False),
        (job(J.PAUSED, stop_reason="user_paused", milestone_epoch=3), False),
        (job(J.QUEUED, milestone_epoch=3), False),
        (job(J.SUCCEEDED), True),
    ],
)
def test_a_job_reaches_a_milestone_by_its_pause_or_its_end(row: JobRow, expected: bool) -> None:
    assert has_reached(row, 3) is expected


def test_the_epochs_of_a_parent_do_not_count(start_sweep: StartSweep) -> None:
    sweep = start_sweep(scheduler={"name": "asha", "min_epochs": 3})
    sweep.run_round()
    sweep.train(0, loss=0.5)
    with transaction(sweep.sessions, read_only=True) as session:
        job_id = sweep.get_job(0).id
        assert read_values(session, job_id, sweep.spec.objective, 0) == {1: 0.5, 2: 0.5, 3: 0.5}
        assert read_values(session, job_id, sweep.spec.objective, 2) == {3: 0.5}
