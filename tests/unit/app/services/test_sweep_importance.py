"""The importance of parameters is computed in a child process, one at a time, and cached."""

import asyncio
import subprocess
import threading
from typing import Any

import pytest

from app.services import sweep_importance
from app.services.sweep_importance import SweepImportanceService
from app.state import State
from core.db.repos.sweeps import SweepRepo
from core.db.session import transaction
from core.errors import NotFound, Overloaded
from core.sweeps.importance import ImportanceReport
from tests.support.many_trials import add_trials
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import build_sweep

REPORT = ImportanceReport(9, 27, 0.5, [])


@pytest.fixture
def sweep_id(state: State) -> str:
    return add_sweep(state.sessions, build_sweep())


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of trials of the computations, which return a constant report."""
    calls: list[int] = []

    def compute(_: Any, trials: list[Any]) -> ImportanceReport:
        calls.append(len(trials))
        return REPORT

    monkeypatch.setattr(sweep_importance, "_run_process", compute)
    return calls


class BlockedComputation:
    """A computation that waits until it may end."""

    def __init__(self) -> None:
        self.has_started, self.may_end = threading.Event(), threading.Event()
        self.num_calls = 0

    def compute(self, *_: object) -> ImportanceReport:
        self.num_calls += 1
        self.has_started.set()
        assert self.may_end.wait(60)
        return REPORT


async def test_a_report_is_computed_again_after_a_change(state: State, sweep_id: str, computed: list[int]) -> None:
    service = SweepImportanceService(state.sessions)
    results = await asyncio.gather(*(service.get_importance(sweep_id) for _ in range(3)))
    assert [(result.revision, result.report) for result in results] == [(0, REPORT)] * 3
    assert computed == [0]

    def change() -> None:
        with transaction(state.sessions) as session:
            add_trials(session, sweep_id, 2)
            SweepRepo(session).increment_revision(sweep_id)

    await asyncio.to_thread(change)
    assert (await service.get_importance(sweep_id)).revision == 3
    assert computed == [0, 2]


async def test_an_unknown_sweep_is_refused(state: State) -> None:
    with pytest.raises(NotFound):
        await SweepImportanceService(state.sessions).get_importance("0" * 32)


async def test_the_number_of_waiting_requests_is_limited(
    state: State, sweep_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_importance, "MAX_WAITING_REPORTS", 2)
    blocked = BlockedComputation()
    monkeypatch.setattr(sweep_importance, "_run_process", blocked.compute)
    service = SweepImportanceService(state.sessions)
    requests = [asyncio.ensure_future(service.get_importance(sweep_id)) for _ in range(3)]
    refused, waiting = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    blocked.may_end.set()
    assert [isinstance(request.exception(), Overloaded) for request in refused] == [True]
    assert [(await request).report for request in waiting] == [REPORT, REPORT]
    assert (await service.get_importance(sweep_id)).report == REPORT
    assert blocked.num_calls == 1


async def test_a_cached_report_waits_for_no_other_computation(
    state: State, sweep_id: str, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_importance, "MAX_WAITING_REPORTS", 1)
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    service = SweepImportanceService(state.sessions)
    await service.get_importance(sweep_id)
    blocked = BlockedComputation()
    monkeypatch.setattr(sweep_importance, "_run_process", blocked.compute)
    waiting = asyncio.ensure_future(service.get_importance(other))
    await asyncio.to_thread(blocked.has_started.wait, 60)
    try:
        assert (await service.get_importance(sweep_id)).report == REPORT
        with pytest.raises(NotFound):
            await service.get_importance("0" * 32)
    finally:
        blocked.may_end.set()
    assert (await waiting).report == REPORT


async def test_the_number_of_cached_reports_is_limited(
    state: State, sweep_id: str, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_importance, "MAX_CACHED_REPORTS", 1)
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    service = SweepImportanceService(state.sessions)
    for each in (sweep_id, other, other, sweep_id):
        await service.get_importance(each)
    assert len(computed) == 3


async def test_a_computation_that_takes_too_long_is_ended(
    state: State, sweep_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_importance, "MAX_COMPUTE_S", 0.01)
    with pytest.raises(Overloaded, match="was not computed within"):
        await SweepImportanceService(state.sessions).get_importance(sweep_id)


async def test_a_process_that_fails_is_an_error(state: State, sweep_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_importance, "MODULE", "core.no_such_module")
    with pytest.raises(subprocess.CalledProcessError):
        await SweepImportanceService(state.sessions).get_importance(sweep_id)
