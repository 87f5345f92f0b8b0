"""Tests of measuring numbers of threads and of choosing one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.training import build_small_run, pack
from worker.engine import thread_finder
from worker.engine.batch_size_finder import StepTime
from worker.engine.run import Run
from worker.engine.state import RunState
from worker.engine.thread_finder import LongStepGuard, ThreadTrial, choose_num_threads, measure_threads, to_dicts


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return build_small_run(pack(tmp_path / "packed", num_samples=40), batch_size=16)


def measure_with(seconds: dict[int, float | None], calls: list[tuple[int, int]]) -> Any:
    """Return a measurement that looks up the seconds of a step by torch's number of threads, and records its calls."""

    def measure(_run: Run, steps: int, _observers: object) -> StepTime | None:
        threads = torch.get_num_threads()
        calls.append((threads, steps))
        duration = seconds[threads]
        return None if duration is None else StepTime(duration, 16)

    return measure


def test_both_numbers_of_threads_are_measured(run: Run) -> None:
    calls: list[tuple[int, int]] = []
    trials = measure_threads(run, 3, measure=measure_with({3: 0.02, 1: 0.01}, calls))
    assert to_dicts(trials) == [{"threads": 1, "steps_per_s": 100.0}, {"threads": 3, "steps_per_s": 50.0}]
    assert calls == [(1, 5), (3, 5)]


@pytest.mark.parametrize(
    ("steps_s", "is_interrupted"), [((0.1, 0.26), True), ((0.1, 0.24), False), ((9.0, 0.24), False), ((9.0,), False)]
)
def test_a_step_with_much_cpu_time_after_the_first_ends_the_measurement(
    steps_s: tuple[float, ...], is_interrupted: bool
) -> None:
    now = 5.0
    guard, state = LongStepGuard(lambda: now), RunState(max_epochs=1, steps_per_epoch=2)
    for step_s in steps_s:
        guard.on_train_batch_begin(state)
        now += step_s
        guard.on_train_batch_end(state)
    assert state.is_interrupted is is_interrupted


def test_a_network_with_long_steps_is_not_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_finder, "MAX_CPU_S", -1.0)
    assert measure_threads(run, 2) == []
    assert torch.get_num_threads() == 1  # interrupted before the second measurement


@pytest.mark.parametrize("seconds", [{1: None}, {1: 0.01, 3: None}])
def test_an_interrupted_measurement_has_no_result(run: Run, seconds: dict[int, float | None]) -> None:
    assert measure_threads(run, 3, measure=measure_with(seconds, [])) == []


def test_steps_of_a_real_run_are_measured(run: Run) -> None:
    trials = measure_threads(run, 2)
    assert [trial.threads for trial in trials] == [1, 2]
    assert all(trial.steps_per_s > 0 for trial in trials)


@pytest.mark.parametrize(
    ("several", "one", "chosen"),
    [(50.0, 100.0, 1), (100.0, 100.0, 1), (119.0, 100.0, 1), (121.0, 100.0, 4), (400.0, 100.0, 4)],
)
def test_several_threads_must_be_clearly_faster(several: float, one: float, chosen: int) -> None:
    assert choose_num_threads([ThreadTrial(1, one), ThreadTrial(4, several)], 4) == chosen


def test_without_trials_the_network_gets_all_threads() -> None:
    assert choose_num_threads([], 4) == 4
