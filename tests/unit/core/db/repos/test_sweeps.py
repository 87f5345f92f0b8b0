"""Sweeps in the database: what clients can request in which state, and trials by hand."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.db.sweep_tables import SweepRow
from core.errors import Conflict, InvalidSpec, NotFound
from core.jobs import JobState
from core.sweeps.states import SweepState as S
from core.sweeps.states import TrialSource, TrialState
from tests.support.stored_sweeps import add_sweep, get_sweep, list_sweep_jobs
from tests.support.sweeps import build_sweep

REQUESTS: dict[str, Callable[[SweepRepo, str], object]] = {
    "pause": lambda repo, sweep_id: repo.pause(sweep_id),
    "resume": lambda repo, sweep_id: repo.resume(sweep_id),
    "cancel": lambda repo, sweep_id: repo.cancel(sweep_id),
    "finish": lambda repo, sweep_id: repo.finish(sweep_id),
    "extend": lambda repo, sweep_id: repo.extend(sweep_id, build_sweep(budget={"trials": 99})),
    "add": lambda repo, sweep_id: repo.add_trial(sweep_id, {"/optimizer/lr": 0.1}),
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
        trial = SweepRepo(session).add_trial(sweep_id, {"/optimizer/lr": 0.25})
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


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"/optimizer/lr": 7.0}, "should be from 1e-05 to 0.3, not 7.0"),
        ({"/batch_size": 7}, "is not a parameter of the sweep"),
    ],
)
def test_parameters_of_other_values_are_refused(
    sqlite_sessions: SessionFactory, parameters: dict[str, float], message: str
) -> None:
    sweep_id = add_sweep(sqlite_sessions, build_sweep())
    with pytest.raises(InvalidSpec) as raised, transaction(sqlite_sessions) as session:
        SweepRepo(session).add_trial(sweep_id, parameters)
    (pointer,) = parameters
    assert raised.value.errors == [(f"/parameters/{pointer.replace('/', '~1')}", message)]
    assert list_sweep_jobs(sqlite_sessions, sweep_id) == []


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
