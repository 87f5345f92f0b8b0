"""Lists of sweeps: filters, pages, counts, best trials and changes."""

from datetime import timedelta

import pytest

from core.db.repos.events import EventRepo
from core.db.repos.sweep_lists import SweepFilter, SweepListRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.sweeps.states import SweepState, TrialState
from tests.support.many_trials import RUNGS, add_trials, get_score
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import build_sweep


@pytest.fixture
def sweep_ids(sessions: SessionFactory) -> list[str]:
    """Three sweeps, oldest first; the second one is paused."""
    ids = [add_sweep(sessions, build_sweep(), name=name) for name in ("first", "second", "third")]
    with transaction(sessions) as session:
        SweepRepo(session).pause(ids[1])
    return ids


def test_pages_are_newest_first_without_gaps(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    found, cursor = list[str](), None
    with transaction(sessions, read_only=True) as session:
        while True:
            page, cursor = SweepListRepo(session).list_page(cursor=cursor, limit=1)
            found += [view.sweep.id for view in page]
            if cursor is None:
                break
    assert found == sweep_ids[::-1]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (SweepFilter(state=SweepState.PAUSED), [1]),
        (SweepFilter(name="third"), [2]),
        (SweepFilter(name="thir"), []),
        (SweepFilter(text="IR"), [2, 0]),
        (SweepFilter(text="%"), []),
    ],
)
def test_filters_select_sweeps(
    sessions: SessionFactory, sweep_ids: list[str], conditions: SweepFilter, expected: list[int]
) -> None:
    with transaction(sessions, read_only=True) as session:
        page, _ = SweepListRepo(session).list_page(conditions)
    assert [view.sweep.id for view in page] == [sweep_ids[index] for index in expected]


def test_the_start_of_an_id_selects_a_sweep(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    for conditions in (SweepFilter(id_prefix=sweep_ids[0][:12]), SweepFilter(text=sweep_ids[0][:12].upper())):
        with transaction(sessions, read_only=True) as session:
            page, _ = SweepListRepo(session).list_page(conditions)
        assert [view.sweep.id for view in page] == sweep_ids[:1]


def test_a_view_has_counts_and_the_best_trial(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    with transaction(sessions) as session:
        add_trials(session, sweep_ids[2], 20)
    with transaction(sessions, read_only=True) as session:
        (view,) = SweepListRepo(session).list_views([sweep_ids[2]])
        rungs = SweepListRepo(session).list_rungs(sweep_ids[2])
    assert view.counts == {TrialState.FAILED: 2, TrialState.PAUSED: 18}
    assert view.best is not None
    assert (view.best.number, view.best.epochs, view.best.score) == (9, 9, get_score(9, 9))
    assert view.best.parameters == {"/optimizer/lr": 0.01}
    assert view.best.jobs == [f"{sweep_ids[2][:24]}{9:08x}"]
    assert view.dataset is not None
    assert view.parts["objective"]["metric"] == "valid_loss"
    assert view.parts["parallel"] == 1
    assert [(rung.epochs, rung.num_trials, rung.num_reached) for rung in rungs] == [(1, 20, 20), (3, 7, 7), (9, 3, 3)]
    assert rungs[0].lowest == get_score(9, RUNGS[0])
    assert rungs[0].highest == max(get_score(number, 1) for number in range(20) if number % 10 != 5)


def test_the_time_counts_while_a_sweep_is_running(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    def read_times() -> list[float]:
        with transaction(sessions, read_only=True) as session:
            views = {view.sweep.id: view for view in SweepListRepo(session).list_views(sweep_ids)}
        return [views[sweep_id].elapsed_s for sweep_id in sweep_ids]

    before, after = read_times(), read_times()
    assert after[0] > before[0] > 0
    assert after[1] == before[1] > 0


def test_changes_are_those_after_a_time(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    with transaction(sessions, read_only=True) as session:
        present = EventRepo(session).get_time()
        lists = SweepListRepo(session)
        assert lists.list_changes(present) == {}
        assert lists.list_changes(present - timedelta(hours=1)) == dict.fromkeys(sweep_ids, 0) | {sweep_ids[1]: 1}
        assert lists.list_revisions([sweep_ids[1], "0" * 32]) == {sweep_ids[1]: 1}
    with transaction(sessions) as session:
        SweepRepo(session).increment_revision(sweep_ids[0])
    with transaction(sessions, read_only=True) as session:
        assert SweepListRepo(session).list_changes(present) == {sweep_ids[0]: 1}


def test_dependents_are_the_sweeps_of_a_dataset_version(sessions: SessionFactory, sweep_ids: list[str]) -> None:
    with transaction(sessions, read_only=True) as session:
        version_id = SweepRepo(session).get(sweep_ids[0]).dataset_version_id
        assert SweepListRepo(session).list_dependents(version_id or "") == sweep_ids[:1]
