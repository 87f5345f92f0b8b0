"""The trials of sweeps in the database: they start from the checkpoints of others, continue, and end with all jobs."""

import pytest

from core.db.repos.jobs import JobRepo
from core.db.repos.sweep_trials import NewTrial, SweepTrialRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.errors import NotFound
from core.jobs import JobState
from core.storage import LocalStorage
from core.sweeps.states import TrialSource, TrialState
from core.sweeps.trial_jobs import build_trial_jobs
from core.sweeps.trials import MAX_INTERRUPTIONS
from tests.support.played_sweeps import PlayedSweep

PBT = {"scheduler": {"name": "pbt", "population": 4, "interval": 9}, "budget": {"trials": 8}, "parallel": 4}
PARAMETERS = {"/optimizer/lr": 0.1}


def test_a_copy_of_a_trial_without_one_of_its_jobs_is_not_found(
    sessions: SessionFactory, storage: LocalStorage
) -> None:
    sweep = PlayedSweep(sessions, storage, **PBT, repeats=2)
    sweep.run_round()
    for repeat in range(2):
        sweep.train(0, repeat=repeat)
    with transaction(sessions) as session:
        job = JobRepo(session).get(sweep.get_job(0, 1).id)
        session.delete(job)
    jobs = build_trial_jobs(sweep.spec, PARAMETERS, name="lr", model="digits", number=4, first_epoch=9)
    copy = NewTrial(4, 18, PARAMETERS, TrialSource.COPY, jobs, (0, 9))
    with pytest.raises(NotFound, match="1 of its 2 jobs"), transaction(sessions) as session:
        SweepTrialRepo(session).start(SweepRepo(session).get(sweep.id, is_locked=True), copy)
    assert len(sweep.trials) == 4


def test_the_other_jobs_of_a_trial_that_cannot_continue_are_cancelled(
    sessions: SessionFactory, storage: LocalStorage
) -> None:
    sweep = PlayedSweep(sessions, storage, scheduler="asha", budget={"trials": 9}, repeats=2)
    sweep.run_round()
    for repeat in range(2):
        sweep.train(0, repeat=repeat)
    sweep.run_round()
    sweep.cancel_job(0)
    with transaction(sessions) as session:
        SweepTrialRepo(session).promote(SweepRepo(session).get(sweep.id, is_locked=True), 0, 3, 2)
    trial = sweep.trials[0]
    assert (trial.state, trial.reason) == (TrialState.STOPPED, "job_cancelled")
    assert [sweep.get_job(0, repeat).state for repeat in range(2)] == [JobState.CANCELLED] * 2


def test_the_other_jobs_of_a_trial_that_was_lost_too_often_are_cancelled(
    sessions: SessionFactory, storage: LocalStorage
) -> None:
    sweep = PlayedSweep(sessions, storage, budget={"trials": 2}, repeats=2)
    sweep.run_round()
    for number in range(MAX_INTERRUPTIONS + 1):
        assert sweep.get_job(0, 1).state is JobState.QUEUED
        with transaction(sessions) as session:
            SweepTrialRepo(session).end(sweep.id, 0, TrialState.INTERRUPTED, f"worker_lost {number}")
    assert sweep.get_job(0, 1).state is JobState.CANCELLED
