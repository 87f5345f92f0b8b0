"""Sweeps in the database: what clients can request in which state, and trials by hand."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from core.db.repos.sweep_trials import SweepTrialRepo, build_client_trial
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.db.sweep_tables import SweepRow, SweepTrialRow
from core.errors import Conflict, NotFound
from core.jobs import JobState
from core.sweeps.spec import MAX_TRIALS
from core.sweeps.states import SweepState as S
from core.sweeps.states import TrialSource, TrialState
from tests.support.stored_sweeps import add_sweep, get_sweep, list_sweep_jobs
from tests.support.sweeps import build_sweep


def add_trial(repo: SweepRepo, sweep_id: str, lr: float = 0.1) -> SweepTrialRow:
    """Add a trial as a client does."""
    row = repo.add_trial(sweep_id, build_client_trial(*repo.plan_trial(sweep_id), {"/optimizer/lr": lr}))
    assert row is not None
    return row


REQUESTS: dict[str, Callable[[SweepRepo, str], object]] = {
    "pause": lambda repo, sweep_id: repo.pause(sweep_id),
    "resume": lambda repo, sweep_id: repo.resume(sweep_id),
    "cancel": lambda repo, sweep_id: repo.cancel(sweep_id),
    "finish": lambda repo, sweep_id: repo.finish(sweep_id),
    "extend": lambda repo, sweep_id: repo.extend(sweep_id, build_sweep(budget={"trials": 99})),
    "add": lambda repo, sweep_id: add_trial(repo, sweep_id),
}
# The state after each accepted request. Others are refused.
ACCEPTED = {
    (S.RUNNING, "pause"): S.PAUSED,
    (S.PAUSED, "pause"): S.PAUSED,
    (S.PAUSED, "resume"): S.RUNNING,
    (S.RUNNING, "cancel"): S.FINISHING,
    (S.PAUSED, "cancel"): S.FINISHING,
    (S.FINISHING, "cancel"): S.FINISHING,
    (S.CANCELLED, "cancel"): S.CANCELLED,
    (S.RUNNING, "finish"): S.FINISHING,
    (S.PAUSED, "finish"): S.FINISHING,
    (S.FINISHING, "finish"): S.FINISHING,
    (S.RUNNING, "extend"): S.RUNNING,
    (S.PAUSED, "extend"): S.PAUSED,
    (S.SUCCEEDED, "extend"): S.RUNNING,
    (S.FAILED, "extend"): S.RUNNING,
    (S.RUNNING, "add"): S.RUNNING,
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_request_is_accepted_in_some_states(sqlite_sessions: SessionFactory, state: S, request_name: str) -> None:
    sweep_id = add_sweep(sqlite_sessions, build_sweep())
    values = {"state": state, "active_since": SweepRow.active_since if state is S.RUNNING else None}
    with transaction(sqlite_sessions) as session:
        session.execute(update(SweepRow).values(**values))
    expected = ACCEPTED.get((state, request_name))
    if expected is None:
        with pytest.raises(Conflict) as raised, transaction(sqlite_sessions) as session:
            REQUESTS[request_name](SweepRepo(session), sweep_id)
        assert set(raised.value.extra["allowed"]) == {before for before, name in ACCEPTED if name == request_name}
        assert get_sweep(sqlite_sessions, sweep_id).revision == 0
        return
    with transaction(sqlite_sessions) as session:
        REQUESTS[request_name](SweepRepo(session), sweep_id)
    sweep = get_sweep(sqlite_sessions, sweep_id)
    assert sweep.state is expected
    assert (sweep.active_since is not None) == (expected is S.RUNNING)


def test_each_change_increments_the_revision(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep())
    for number, name in enumerate(["pause", "resume", "extend", "add", "finish", "cancel"], 1):
        before = get_sweep(sessions, sweep_id)
        with transaction(sessions) as session:
            REQUESTS[name](SweepRepo(session), sweep_id)
        sweep = get_sweep(sessions, sweep_id)
        assert sweep.revision == number
        assert sweep.updated_at >= before.updated_at
    assert get_sweep(sessions, sweep_id).finish_reason == "cancelled"


def test_the_time_of_a_pause_does_not_count(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep())
    with transaction(sessions) as session:
        assert SweepRepo(session).get_active_s(SweepRepo(session).get(sweep_id)) >= 0
        paused = SweepRepo(session).pause(sweep_id)
        assert paused.active_s >= 0
        paused.active_s = 100.0
    with transaction(sessions) as session:
        repo = SweepRepo(session)
        assert repo.get_active_s(repo.get(sweep_id)) == 100.0
        assert repo.get_active_s(repo.resume(sweep_id)) >= 100.0


def test_an_ended_sweep_continues_after_an_extension(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep())
    with transaction(sessions) as session:
        repo = SweepRepo(session)
        repo.end(repo.finish(sweep_id), S.SUCCEEDED)
    assert get_sweep(sessions, sweep_id).finished_at is not None
    with transaction(sessions) as session:
        SweepRepo(session).extend(sweep_id, build_sweep(budget={"trials": 99}))
    sweep = get_sweep(sessions, sweep_id)
    assert (sweep.finished_at, sweep.finish_reason, sweep.spec["budget"]["trials"]) == (None, None, 99)
    assert sweep.active_since is not None


def test_a_trial_by_hand_has_jobs(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep(repeats=2, scheduler="asha"))
    with transaction(sessions) as session:
        trial = add_trial(SweepRepo(session), sweep_id, 0.25)
        assert (trial.number, trial.state, trial.source) == (0, TrialState.RUNNING, TrialSource.CLIENT)
    jobs = list_sweep_jobs(sessions, sweep_id, JobState.QUEUED)
    assert [(job.name, job.model_name, job.priority) for job in jobs] == [
        ("lr-t0000-r0", "digits", -10),
        ("lr-t0000-r1", "digits", -10),
    ]
    assert not any(job.is_resolved for job in jobs)
    assert [job.spec["optimizer"]["lr"] for job in jobs] == [0.25, 0.25]
    assert jobs[0].spec["milestones"]["epochs"] == [1, 3, 9]
    assert jobs[0].spec["register"] is False
    assert jobs[0].spec["seed"] + 1 == jobs[1].spec["seed"]
    sweep = get_sweep(sessions, sweep_id)
    assert (sweep.num_trials, sweep.num_steps, sweep.num_epochs, sweep.revision) == (1, 1, 2, 1)
    with transaction(sessions) as session:
        assert SweepRepo(session).list_steps(sweep_id) == [(0, 1)]


def test_a_number_that_another_trial_has_is_not_used_again(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep())
    with transaction(sessions) as session:
        repo = SweepRepo(session)
        trial = build_client_trial(*repo.plan_trial(sweep_id), {"/optimizer/lr": 0.1})
        assert repo.add_trial(sweep_id, trial) is not None
        assert repo.add_trial(sweep_id, trial) is None
        assert repo.plan_trial(sweep_id)[1] == 1


def test_a_sweep_has_a_maximum_number_of_trials(sqlite_sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sqlite_sessions, build_sweep())
    with transaction(sqlite_sessions) as session:
        add_trial(SweepRepo(session), sweep_id)
        session.execute(update(SweepTrialRow).values(number=MAX_TRIALS - 1))
    with pytest.raises(Conflict, match="at most 10000 trials"), transaction(sqlite_sessions) as session:
        SweepRepo(session).plan_trial(sweep_id)


def test_copies_do_not_count_for_the_budget(sqlite_sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sqlite_sessions, build_sweep())
    with transaction(sqlite_sessions) as session:
        repo, trials = SweepRepo(session), SweepTrialRepo(session)
        sweep = repo.get(sweep_id, is_locked=True)
        for number, source in enumerate([TrialSource.SAMPLER, TrialSource.COPY]):
            trial = build_client_trial(sweep, number, {"/optimizer/lr": 0.1})._replace(source=source)
            trials.start(sweep, trial)
        assert sweep.num_trials == 1
        trials.refuse(sweep, 1, "invalid")
        assert sweep.num_trials == 1
        trials.refuse(sweep, 0, "invalid")
        assert sweep.num_trials == 0


def test_an_unknown_sweep_is_not_found(sqlite_sessions: SessionFactory) -> None:
    with pytest.raises(NotFound), transaction(sqlite_sessions) as session:
        SweepRepo(session).pause("0" * 32)


def test_a_changed_sweep_is_not_locked(sessions: SessionFactory) -> None:
    sweep_id = add_sweep(sessions, build_sweep())
    with transaction(sessions) as session:
        assert SweepRepo(session).lock_unchanged(sweep_id, 0) is not None
        SweepRepo(session).increment_revision(sweep_id)
    with transaction(sessions) as session:
        assert SweepRepo(session).lock_unchanged(sweep_id, 0) is None
