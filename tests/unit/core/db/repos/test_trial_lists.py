"""Pages of a sweep's trials in several orders."""

import time

import pytest

from core.db import cursor as cursors
from core.db.repos.trial_lists import TrialListRepo, TrialOrder, TrialView
from core.db.session import SessionFactory, transaction
from core.errors import InvalidSpec
from core.sweeps.spec import MAX_TRIALS
from core.sweeps.states import TrialState
from tests.support.many_trials import add_trials, get_score, list_reached
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import build_sweep

COUNT = 45


@pytest.fixture
def sweep_id(sessions: SessionFactory) -> str:
    """A sweep with trials."""
    sweep_id = add_sweep(sessions, build_sweep())
    with transaction(sessions) as session:
        add_trials(session, sweep_id, COUNT)
    return sweep_id


def read_pages(
    sessions: SessionFactory, sweep_id: str, order: TrialOrder, limit: int, state: TrialState | None = None
) -> list[TrialView]:
    """Return the trials of all pages."""
    found, cursor = list[TrialView](), None
    with transaction(sessions, read_only=True) as session:
        while True:
            repo = TrialListRepo(session, sweep_id)
            page, cursor = repo.list_page(order, state=state, cursor=cursor, limit=limit)
            found += page
            if cursor is None:
                return found


@pytest.mark.parametrize("limit", [1, 7, COUNT])
@pytest.mark.parametrize("order", TrialOrder)
def test_pages_have_every_trial_once_in_order(
    sessions: SessionFactory, sweep_id: str, order: TrialOrder, limit: int
) -> None:
    trials = [view.trial for view in read_pages(sessions, sweep_id, order, limit)]
    assert sorted(trial.number for trial in trials) == list(range(COUNT))
    sign = -1 if order.startswith("-") else 1
    keys = {
        "number": lambda trial: sign * trial.number,
        "score": lambda trial: (trial.best_score is None, sign * (trial.best_score or 0), sign * trial.number),
        "epochs": lambda trial: (sign * trial.epochs, sign * trial.number),
    }
    assert trials == sorted(trials, key=keys[order.removeprefix("-")])


def test_a_state_selects_its_trials(sessions: SessionFactory, sweep_id: str) -> None:
    found = read_pages(sessions, sweep_id, TrialOrder.SCORE, 2, TrialState.FAILED)
    assert [view.trial.number for view in found] == [5, 15, 25, 35]
    assert all(score.score is None for view in found for score in view.scores)


def test_a_trial_has_its_scores_and_jobs(sessions: SessionFactory, sweep_id: str) -> None:
    trials = read_pages(sessions, sweep_id, TrialOrder.NUMBER, 10)
    assert [(each.epochs, each.score) for each in trials[9].scores] == [
        (epochs, get_score(9, epochs)) for epochs in list_reached(9)
    ]
    assert trials[9].jobs == [f"{sweep_id[:24]}{9:08x}"]


@pytest.mark.parametrize("order", TrialOrder)
def test_a_cursor_of_another_list_is_refused(sessions: SessionFactory, sweep_id: str, order: TrialOrder) -> None:
    other = TrialOrder.NUMBER if order is not TrialOrder.NUMBER else TrialOrder.SCORE
    with transaction(sessions, read_only=True) as session:
        repo = TrialListRepo(session, sweep_id)
        _, cursor = repo.list_page(order, limit=1)
        with pytest.raises(InvalidSpec):
            repo.list_page(other, cursor=cursor)
        with pytest.raises(InvalidSpec):
            repo.list_page(order, cursor="x")


@pytest.mark.parametrize("number", [str(MAX_TRIALS), "9" * 19, "9" * 32, "a"])
def test_a_cursor_with_a_number_that_no_trial_has_is_refused(
    sessions: SessionFactory, sweep_id: str, number: str
) -> None:
    cursor = cursors.encode_position(TrialOrder.NUMBER, 1, number)
    with pytest.raises(InvalidSpec), transaction(sessions, read_only=True) as session:
        TrialListRepo(session, sweep_id).list_page(TrialOrder.NUMBER, cursor=cursor)


def test_a_page_of_2000_trials_is_read_quickly(sqlite_sessions: SessionFactory) -> None:
    """The limit is five times the time that was measured, so that a busy machine does not fail the test."""
    sweep_id = add_sweep(sqlite_sessions, build_sweep())
    with transaction(sqlite_sessions) as session:
        add_trials(session, sweep_id, 2000)
    started = time.process_time()
    with transaction(sqlite_sessions, read_only=True) as session:
        page, _ = TrialListRepo(session, sweep_id).list_page(TrialOrder.SCORE, limit=200)
    assert len(page) == 200
    assert time.process_time() - started < 0.25
