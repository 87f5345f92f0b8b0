"""The controller runs sweeps to their end, whatever happens to their jobs and to itself."""

import math
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from core.db.clock import utc_now
from core.db.repos.automatic_variants import AutomaticVariantRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.retention import RetentionRepo
from core.db.repos.sweep_trials import SweepTrialRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState, JobState
from core.sweeps.decisions import FinishSweep, StopTrial
from core.sweeps.states import SweepState, TrialSource, TrialState
from tests.support.fakes import Clock
from tests.support.played_sweeps import StartSweep, compute_loss
from tests.support.sweeps import BASE
from worker.maintenance.sweeps.snapshot import read_snapshot
from worker.maintenance.sweeps.steps import SweepChanged, SweepSteps

ASHA = {"scheduler": {"name": "asha", "min_epochs": 1, "reduction": 3}, "budget": {"trials": 9}}
P, R, F, S, C = (
    TrialState.PAUSED,
    TrialState.RUNNING,
    TrialState.FAILED,
    TrialState.STOPPED,
    TrialState.SUCCEEDED,
)


def test_a_sweep_without_a_scheduler_trains_every_trial(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 5}, parallel=2)
    row = sweep.run()
    assert (row.state, row.finish_reason, row.num_trials, row.num_epochs) == (
        SweepState.SUCCEEDED,
        "budget.trials",
        5,
        5 * 27,
    )
    assert sweep.states == [C] * 5
    best = min(sweep.trials, key=lambda trial: trial.best_score or math.inf)
    assert (row.best_trial, row.best_score) == (best.number, best.best_score)
    (version,) = sweep.list_versions()
    assert (version.name, version.job_id) == ("digits", sweep.get_job(best.number).id)
    assert row.registered_version == 1
    assert row.finished_at is not None
    assert sweep.list_checkpoints() == [(best.number, 27)]


def test_no_more_trials_run_than_allowed(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 9}, parallel=3)
    sweep.run_round()
    assert sweep.states == [R] * 3
    assert not any(job.is_resolved for job in sweep.list_jobs())
    sweep.train(1)
    sweep.run_round()
    assert sweep.states == [R, C, R, R]


def test_the_best_trials_are_promoted_and_the_others_stopped(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(**ASHA)
    row = sweep.run()
    assert row.finish_reason == "budget.trials"
    trials = sweep.trials
    assert Counter(sweep.states) == {C: 1, S: 8}
    assert row.num_epochs == sum(trial.epochs for trial in trials) < 9 * 27 / 2
    (complete,) = [trial for trial in trials if trial.state is C]
    assert complete.epochs == 27
    losses = sorted(compute_loss(trial.parameters["/optimizer/lr"], 1) for trial in trials)
    assert compute_loss(complete.parameters["/optimizer/lr"], 1) == losses[0]
    assert {trial.reason for trial in trials} == {None, "cannot_be_promoted"}
    assert all(job.state is JobState.CANCELLED for job in sweep.list_jobs() if job.model_version is None)


def test_checkpoints_of_losers_are_deleted_at_once(start_sweep: StartSweep) -> None:
    sweep = start_sweep(**ASHA, parallel=2)
    for _ in range(100):
        sweep.run_round()
        if sweep.row.state is not SweepState.RUNNING:
            break
        sweep.train_all()
        rows = sweep.list_checkpoints()
        survivors = sum(state in (P, R, C) for state in sweep.states)
        assert len(rows) <= survivors
        assert len(sweep.list_stored_checkpoints()) == len(rows)
    assert len(sweep.list_stored_checkpoints()) == 1


@pytest.mark.parametrize(("keep", "num"), [(0, 0), (1, 1), (3, 3), (9, 5)])
def test_the_best_trials_keep_their_checkpoints(start_sweep: StartSweep, keep: int, num: int) -> None:
    sweep = start_sweep(budget={"trials": 5}, keep={"best": keep}, register="none")
    row = sweep.run()
    ranked = sorted(sweep.trials, key=lambda trial: trial.best_score or math.inf)
    assert {trial for trial, _ in sweep.list_checkpoints()} == {trial.number for trial in ranked[:num]}
    assert row.registered_version is None
    assert sweep.list_versions() == []


def test_all_complete_trials_are_registered_in_their_order(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 4}, register="all", keep={"best": 0})
    row = sweep.run()
    assert [version.job_id for version in sweep.list_versions()] == [sweep.get_job(number).id for number in range(4)]
    assert row.registered_version == (row.best_trial or 0) + 1


def test_the_variants_of_registered_trials_are_queued(start_sweep: StartSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    monkeypatch.setattr(AutomaticVariantRepo, "queue_job", lambda _, training, __: queued.append(training.id))
    sweep = start_sweep(budget={"trials": 2}, register="all")
    sweep.controller = sweep.create_controller(queues_variants=True)
    sweep.run()
    assert queued == [sweep.get_job(number).id for number in range(2)]
    queued.clear()
    start_sweep(budget={"trials": 2}, register="all").run()
    assert queued == []


@pytest.mark.parametrize("code", ["diverged", "gpu_out_of_memory", "internal", "time_limit"])
def test_a_failed_job_fails_its_trial(start_sweep: StartSweep, code: str) -> None:
    sweep = start_sweep(budget={"trials": 3})
    sweep.run_round()
    sweep.worker.fail(sweep.get_job(0).id, code)
    sweep.run_round()
    trial = sweep.trials[0]
    assert trial.state is F
    assert (trial.reason or "").startswith(f"{code}: ")
    assert sweep.run().best_trial in (1, 2)


def test_a_score_that_is_not_finite_is_the_worst(start_sweep: StartSweep) -> None:
    sweep = start_sweep(**ASHA)
    sweep.run_round()
    sweep.train(0, loss=math.nan)
    sweep.run_round()
    trial = sweep.trials[0]
    assert (trial.state, trial.best_score) == (S, None)
    assert sweep.list_checkpoints() == []
    assert sweep.row.best_trial is None
    assert sweep.run().best_trial not in (None, 0)


def test_a_sweep_without_any_score_fails(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 2})
    for number in range(2):
        sweep.run_round()
        sweep.worker.fail(sweep.get_job(number).id, "diverged")
    row = sweep.run()
    assert (row.state, row.best_trial, row.registered_version) == (SweepState.FAILED, None, None)


def test_a_trial_continues_after_its_worker_was_lost(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(**ASHA)
    sweep.run_round()
    sweep.train(0)
    sweep.run_round()
    job = sweep.get_job(1)
    sweep.worker.fail(job.id, "worker_lost")
    sweep.run_round()
    trial, retried = sweep.trials[1], sweep.get_job(1)
    assert (trial.state, trial.interruptions, trial.epochs) == (R, 1, 1)
    assert (retried.id, retried.state, retried.failure, retried.lost_attempts) == (job.id, JobState.QUEUED, None, 0)
    assert retried.finished_at is None
    assert sweep.row.num_steps == 2
    assert sweep.wake_ups
    assert sweep.run().state is SweepState.SUCCEEDED


def test_a_trial_that_loses_its_worker_each_time_fails(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 2})
    for _ in range(4):
        sweep.run_round()
        sweep.worker.fail(sweep.get_job(0).id, "stalled")
    sweep.run_round()
    assert sweep.trials[0].interruptions == 4
    assert sweep.states == [TrialState.INTERRUPTED, R]
    assert sweep.run().best_trial == 1


def test_refused_parameters_are_replaced(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 2})
    sweep.run_round()
    sweep.worker.refuse(sweep.get_job(0).id)
    sweep.run_round()
    refused, following = sweep.trials
    assert (refused.state, refused.reason) == (TrialState.REFUSED, "the loss is unknown")
    assert following.parameters != refused.parameters
    assert [job.sweep_trial for job in sweep.list_jobs()] == [1]
    row = sweep.row
    assert (row.num_trials, row.num_refused, row.num_epochs) == (1, 1, 27)
    assert sweep.run().num_trials == 2


def test_many_refused_parameters_end_the_sweep(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 50}, parallel=2)
    for _ in range(20):
        sweep.run_round()
        for job in sweep.list_jobs(JobState.QUEUED):
            sweep.worker.refuse(job.id)
    row = sweep.row
    assert (row.state, row.finish_reason) == (SweepState.FAILED, "refused_parameters")
    assert row.num_refused in (10, 11)
    assert sweep.list_jobs() == []


def test_parameters_that_give_no_job_spec_are_refused_without_a_job(start_sweep: StartSweep) -> None:
    space = {"/batch_size": {"type": "choice", "values": [32, "many"]}}
    sweep = start_sweep(space=space, sampler="grid", base={"dataset": "digits", "architecture": "mlp", "epochs": 2})
    row = sweep.run()
    assert (row.num_trials, row.num_refused, row.finish_reason) == (1, 1, "no_parameters")
    assert "/batch_size" in (sweep.trials[1].reason or "")


def test_a_cancelled_or_deleted_job_stops_its_trial(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 9}, parallel=2)
    sweep.run_round()
    sweep.cancel_job(0)
    sweep.cancel_job(1)
    sweep.delete_job(1)
    sweep.run_round()
    assert sweep.states == [S, S, R, R]
    assert [trial.reason for trial in sweep.trials[:2]] == [
        "job_cancelled",
        "job_deleted",
    ]


def test_a_job_that_was_cancelled_while_it_waited_is_not_promoted(start_sweep: StartSweep) -> None:
    sweep = start_sweep(scheduler="asha", budget={"trials": 30})
    for number in range(2):
        sweep.run_round()
        sweep.train(number, loss=0.1 + number)
    sweep.cancel_job(0)
    sweep.run_round()
    sweep.train(2, loss=5.0)
    sweep.run_round()
    assert sweep.states[0] is S


def test_a_paused_sweep_pauses_its_jobs_and_continues_them(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 9}, parallel=3)
    sweep.run_round()
    running, by_user = sweep.get_job(0).id, sweep.get_job(1).id
    sweep.worker.claim(running)
    sweep.pause_job(1)
    sweep.request(lambda repo: repo.pause(sweep.id))
    sweep.run_round()
    assert [job.state for job in sweep.list_jobs()] == [JobState.PAUSING, JobState.PAUSED, JobState.PAUSED]
    sweep.worker.release(running)
    sweep.run_round()
    sweep.request(lambda repo: repo.resume(sweep.id))
    sweep.run_round()
    jobs = {job.id: job for job in sweep.list_jobs()}
    assert [job.state for job in jobs.values()] == [JobState.QUEUED, JobState.PAUSED, JobState.QUEUED]
    assert jobs[by_user].stop_reason == "user_paused"
    assert sweep.states == [R] * 3


def test_a_job_that_still_pauses_continues_after_an_early_resume(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 9})
    sweep.run_round()
    job_id = sweep.get_job(0).id
    sweep.worker.claim(job_id)
    sweep.request(lambda repo: repo.pause(sweep.id))
    sweep.run_round()
    sweep.request(lambda repo: repo.resume(sweep.id))
    sweep.run_round()
    assert sweep.get_job(0).state is JobState.PAUSING
    sweep.worker.release(job_id)
    assert sweep.get_job(0).stop_reason == "sweep_paused"
    sweep.run_round()
    assert sweep.get_job(0).state is JobState.QUEUED


def test_a_cancelled_sweep_stops_its_jobs_and_registers_nothing(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 9}, parallel=3)
    sweep.run_round()
    sweep.train(0)
    sweep.run_round()
    running = sweep.get_job(1).id
    sweep.worker.claim(running)
    sweep.request(lambda repo: repo.cancel(sweep.id))
    sweep.run_round()
    assert sweep.row.state is SweepState.FINISHING
    assert sweep.get_job(1).state is JobState.CANCELLING
    sweep.worker.release(running)
    sweep.run_round()
    row = sweep.row
    assert (row.state, row.registered_version, sweep.list_versions()) == (SweepState.CANCELLED, None, [])
    assert sweep.states == [C, S, S, S]
    assert {job.stop_reason for job in sweep.list_jobs(JobState.CANCELLED)} == {"sweep_cancelled"}


def test_a_sweep_that_is_finished_early_registers_its_best_complete_trial(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 30}, scheduler="asha", base=BASE | {"epochs": 3}, parallel=2)
    for _ in range(100):
        sweep.run_round()
        if C in sweep.states:
            break
        sweep.train_all()
    complete = sweep.states.index(C)
    running = next(trial for trial in sweep.trials if trial.state is R)
    sweep.train(running.number, loss=-5.0)
    sweep.run_round()
    sweep.request(lambda repo: repo.finish(sweep.id))
    row = sweep.run()
    assert (row.state, row.finish_reason) == (SweepState.SUCCEEDED, "finish_requested")
    assert row.best_trial == running.number
    assert [version.job_id for version in sweep.list_versions()] == [sweep.get_job(complete).id]
    assert [trial for trial, _ in sweep.list_checkpoints()] == [running.number]


def test_an_extended_sweep_has_more_trials_and_registers_a_better_one(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 2})
    first = sweep.run()
    assert first.registered_version == 1
    spec = sweep.spec.model_copy(update={"budget": sweep.spec.budget.model_copy(update={"trials": 3})})
    sweep.request(lambda repo: repo.extend(sweep.id, spec))
    sweep.run_round()
    sweep.train(2, loss=-1.0)
    row = sweep.run()
    assert (row.num_trials, row.best_trial, row.registered_version) == (3, 2, 2)


def test_the_score_of_a_trial_is_the_mean_of_its_repeats(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 1}, repeats=3)
    sweep.run_round()
    for repeat, loss in enumerate([0.1, 0.2, 0.6]):
        assert sweep.states == [R]
        sweep.train(0, repeat=repeat, loss=loss)
        sweep.run_round()
    assert sweep.trials[0].best_score == pytest.approx(0.3)
    assert sweep.row.num_epochs == 81


def test_a_failed_repeat_cancels_the_others(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 1}, repeats=2)
    sweep.run_round()
    sweep.worker.fail(sweep.get_job(0, 1).id, "diverged")
    sweep.run_round()
    assert sweep.states == [F]
    assert sweep.get_job(0, 0).state is JobState.CANCELLED


def test_stopped_trials_take_no_place_of_those_that_keep_checkpoints(start_sweep: StartSweep) -> None:
    sweep = start_sweep(**ASHA, keep={"best": 2}, register="none", parallel=3)
    sweep.run_round()
    for number, loss in enumerate([0.3, 0.5, 0.7]):
        sweep.train(number, loss=loss)
    sweep.run_round()
    with transaction(sweep.sessions, read_only=True) as session:
        snapshot = read_snapshot(session, sweep.id)
    assert snapshot is not None
    SweepSteps(sweep.sessions, sweep.storage, lambda: None).stop_trial(snapshot, StopTrial(1, "cannot_be_promoted"))
    assert sweep.list_checkpoints() == [(0, 1), (2, 1)]
    sweep.request(lambda repo: repo.finish(sweep.id))
    sweep.run()
    assert sweep.list_checkpoints() == [(0, 1), (2, 1)]


def test_a_paused_sweep_pauses_the_other_jobs_of_a_trial_that_was_lost(start_sweep_anywhere: StartSweep) -> None:
    sweep = start_sweep_anywhere(budget={"trials": 2}, repeats=2)
    sweep.run_round()
    with transaction(sweep.sessions) as session:
        SweepTrialRepo(session).end(sweep.id, 0, TrialState.INTERRUPTED, "worker_lost")
    sweep.request(lambda repo: repo.pause(sweep.id))
    sweep.run_round()
    assert [job.stop_reason for job in sweep.list_jobs()] == ["sweep_paused"] * 2
    sweep.request(lambda repo: repo.resume(sweep.id))
    sweep.run_round()
    assert [job.state for job in sweep.list_jobs()] == [JobState.QUEUED] * 2
    assert sweep.states == [R]


def test_a_finishing_sweep_waits_for_the_jobs_of_ended_trials(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 1}, repeats=2)
    sweep.run_round()
    sweep.worker.claim(sweep.get_job(0, 1).id)
    sweep.worker.fail(sweep.get_job(0, 0).id, "diverged")
    sweep.run_round()
    assert (sweep.states, sweep.row.state) == ([F], SweepState.FINISHING)
    assert sweep.get_job(0, 1).state is JobState.CANCELLING
    sweep.worker.release(sweep.get_job(0, 1).id)
    sweep.run_round()
    assert sweep.row.state is SweepState.FAILED


def test_a_copy_continues_the_checkpoint_of_another_trial(start_sweep_anywhere: StartSweep) -> None:
    scheduler = {"name": "pbt", "population": 4, "interval": 9, "quantile": 0.25}
    sweep = start_sweep_anywhere(scheduler=scheduler, budget={"trials": 8}, parallel=4)
    sweep.run_round()
    for number in range(4):
        sweep.train(number, loss=float(number))
    with transaction(sweep.sessions, read_only=True) as session:
        (checkpoint,) = CheckpointRepo(session).list_checkpoints(sweep.get_job(0).id)
    sweep.run_round()
    copy = sweep.trials[4]
    assert (copy.source, copy.parent_number, copy.parent_epochs) == (TrialSource.COPY, 0, 9)
    spec = sweep.get_job(4).spec
    assert spec["resume_from"] == {
        "job": sweep.get_job(0).id,
        "checkpoint": checkpoint.number,
        "model": True,
        "optimizer": True,
        "callbacks": True,
        "records": True,
    }
    assert spec["milestones"]["epochs"] == [18]
    assert sweep.states == [R, R, R, S, R]
    sweep.train(0)  # the copied trial continues first: its checkpoint must remain for the copy
    with transaction(sweep.sessions, read_only=True) as session:
        rows = CheckpointRepo(session).list_checkpoints(checkpoint.job_id)
        assert checkpoint.number in [row.number for row in rows]
    assert sweep.run().state is SweepState.SUCCEEDED


def test_the_hours_of_a_sweep_end_it(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"hours": 1.0, "trials": 50})
    sweep.run_round()
    with transaction(sweep.sessions) as session:
        session.get_one(type(sweep.row), sweep.id).active_s = 3600.0
    sweep.request(lambda repo: repo.increment_revision(sweep.id))
    sweep.run_round()
    assert sweep.row.state is SweepState.RUNNING
    sweep.train_all()
    sweep.run_round()
    assert (sweep.row.state, sweep.row.finish_reason) == (SweepState.SUCCEEDED, "budget.hours")


@pytest.mark.parametrize("state", ["running", "paused", "finishing", "importing"])
def test_a_waiting_sweep_is_not_read_again(
    start_sweep: StartSweep, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    sweep = start_sweep(budget={"trials": 9})
    sweep.run_round()
    sweep.worker.claim(sweep.get_job(0).id)
    if state in ("paused", "finishing"):
        sweep.request(lambda repo: repo.pause(sweep.id) if state == "paused" else repo.finish(sweep.id))
    elif state == "importing":
        with transaction(sweep.sessions) as session:
            session.execute(update(DatasetVersionRow).values(state=DatasetState.IMPORTING))
        sweep.request(lambda repo: repo.increment_revision(sweep.id))
    sweep.run_round()
    advanced: list[str] = []
    monkeypatch.setattr(sweep.controller, "advance", advanced.append)
    sweep.run_round()
    assert advanced == []
    sweep.worker.fail_attempt(sweep.get_job(0).id, "worker_lost")
    sweep.run_round()
    assert advanced == [sweep.id]


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_the_steps_of_a_deterministic_sweep_are_read(start_sweep: StartSweep, is_deterministic: bool) -> None:
    sweep = start_sweep(budget={"trials": 9}, deterministic=is_deterministic)
    sweep.run_round()
    with transaction(sweep.sessions, read_only=True) as session:
        snapshot = read_snapshot(session, sweep.id)
    assert snapshot is not None
    assert len(snapshot.steps) == int(is_deterministic)


def test_a_sweep_without_unneeded_files_deletes_none(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 1}, register="none")
    sweep.run_round()
    sweep.train(0)
    before = sweep.row.revision
    sweep.run_round()
    assert sweep.row.state is SweepState.SUCCEEDED
    assert sweep.row.revision == before + 4  # the result, the decision to finish (twice), and the end


# ---- several processes, and processes that are killed


class KilledAtCommit(BaseException):
    """The process was killed at a commit."""


def kill_at_commit(sessions: SessionFactory, number: int, *, before: bool) -> SessionFactory:
    """Return sessions that end the process before, or after, the write with this number is committed."""
    num_writes = 0

    class KilledSession(Session):
        def commit(self) -> None:
            nonlocal num_writes
            num_writes += not self.connection().get_execution_options().get("candela_read_only", False)
            if before and num_writes == number:
                self.rollback()
                raise KilledAtCommit
            super().commit()
            if num_writes == number:
                raise KilledAtCommit

    return sessionmaker(sessions.kw["bind"], class_=KilledSession, expire_on_commit=False, info=sessions.kw["info"])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"budget": {"trials": 7}, "scheduler": "asha", "parallel": 2},
        {"budget": {"trials": 8}, "scheduler": {"name": "pbt", "population": 4, "interval": 9}, "parallel": 4},
        {"budget": {"trials": 3}, "register": "all"},
    ],
)
def test_a_process_killed_at_any_commit_changes_nothing(
    start_sweep: StartSweep, fields: dict[str, Any], before: bool
) -> None:
    twin = start_sweep(**fields)
    twin.run()
    sweep = start_sweep(**fields)
    for number in range(1, 1000):
        sweep.controller = sweep.create_controller(kill_at_commit(sweep.sessions, 1 + number % 3, before=before))
        with suppress(KilledAtCommit):
            sweep.run_round()
        if sweep.row.state is SweepState.SUCCEEDED:
            break
        if number % 4 == 0:
            sweep.controller = sweep.create_controller()
            sweep.run_round()
            sweep.train_all()
    assert sweep.describe() == twin.describe()
    assert len(sweep.list_versions()) == len(twin.list_versions())


def test_two_processes_make_each_step_once(start_sweep_anywhere: StartSweep) -> None:
    fields = {"budget": {"trials": 9}, "scheduler": "asha", "parallel": 2}
    twin = start_sweep_anywhere(**fields)
    twin.run()
    sweep = start_sweep_anywhere(**fields)
    controllers = [sweep.create_controller() for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        while sweep.row.state is not SweepState.SUCCEEDED:
            list(threads.map(lambda controller: controller.run_once(), controllers))
            sweep.train_all()
    assert sweep.describe() == twin.describe()


def test_a_step_for_an_earlier_revision_is_not_written(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 9})
    with transaction(sweep.sessions, read_only=True) as session:
        snapshot = read_snapshot(session, sweep.id)
    assert snapshot is not None
    sweep.request(lambda repo: repo.pause(sweep.id))
    with pytest.raises(SweepChanged):
        SweepSteps(sweep.sessions, sweep.storage, lambda: None).finish(snapshot, FinishSweep("complete"))
    assert sweep.row.state is SweepState.PAUSED


def test_a_deterministic_sweep_does_not_depend_on_the_speed_of_workers(start_sweep: StartSweep) -> None:
    fields = {"deterministic": True, "budget": {"trials": 14}, "scheduler": "asha", "parallel": 3, "sampler": "tpe"}
    fields["sampler"] = {"name": "tpe", "startup_trials": 3}
    records = []
    for seed in range(3):
        sweep, chance = start_sweep(**fields), random.Random(seed)
        for _ in range(1000):
            sweep.run_round()
            if sweep.row.state is SweepState.SUCCEEDED:
                break
            queued = sweep.list_jobs(JobState.QUEUED)
            job = chance.choice(queued)
            if chance.random() < 0.2:
                sweep.worker.fail(job.id, "worker_lost")
            else:
                sweep.train(job.sweep_trial or 0)
        assert sweep.row.state is SweepState.SUCCEEDED
        records.append(sweep.describe())
        sweep.controller.close()
    assert records[1] == records[0]
    assert records[2] == records[0]


# ---- errors, and the dataset


def test_an_error_of_one_sweep_does_not_stop_the_others(
    start_sweep: StartSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    broken, sweep = start_sweep(), start_sweep()
    controller = sweep.create_controller(clock=clock)
    advance, failed = controller.advance, list[str]()

    def fail(sweep_id: str) -> bool:
        if sweep_id == sweep.id:
            return advance(sweep_id)
        failed.append(sweep_id)
        raise ValueError("a defect")

    monkeypatch.setattr(controller, "advance", fail)
    controller.run_once()
    controller.run_once()
    assert sweep.states == [R]
    assert failed == [broken.id]
    clock.now += 31
    controller.run_once()
    assert len(failed) == 2


@pytest.mark.parametrize(
    ("state", "expected", "num_jobs"),
    [
        (DatasetState.IMPORTING, SweepState.RUNNING, 0),
        (DatasetState.FAILED, SweepState.FAILED, 0),
        (DatasetState.READY, SweepState.RUNNING, 1),
    ],
)
def test_a_sweep_waits_for_its_dataset(
    start_sweep: StartSweep, state: DatasetState, expected: SweepState, num_jobs: int
) -> None:
    sweep = start_sweep()
    with transaction(sweep.sessions) as session:
        session.execute(update(DatasetVersionRow).values(state=state))
    for _ in range(2):
        sweep.run_round()
    assert (sweep.row.state, len(sweep.list_jobs())) == (expected, num_jobs)
    if state is DatasetState.IMPORTING:
        with transaction(sweep.sessions) as session:
            session.execute(update(DatasetVersionRow).values(state=DatasetState.READY))
        sweep.run_round()
        assert len(sweep.list_jobs()) == 1


def test_the_jobs_of_an_open_sweep_do_not_expire(start_sweep: StartSweep) -> None:
    sweep = start_sweep(budget={"trials": 2})
    sweep.run_round()
    sweep.train(0)
    job_id = sweep.get_job(0).id
    for is_open in (True, False):
        sweep.worker.set_columns(job_id, finished_at=utc_now() - timedelta(days=9))
        with transaction(sweep.sessions, read_only=True) as session:
            expired = RetentionRepo(session).find_expired_jobs(7, 10)
        assert expired == ([] if is_open else [job_id])
        sweep.request(lambda repo: repo.cancel(sweep.id))
        for _ in range(2):
            sweep.run_round()
        assert sweep.row.state is SweepState.CANCELLED or not is_open
