"""Tests of the training loop alone: batches are numbers, and steps add them."""

from collections.abc import Iterator

import pytest

from tests.support.training import InterruptAt, build_hook_recorder
from worker.engine.callback import Callback, CallbackHandler
from worker.engine.loop import Loop
from worker.engine.state import RunState


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count
        self.requests: list[tuple[int, int]] = []

    def iter_epoch(self, number: int, start: int = 0) -> Iterator[int]:
        self.requests.append((number, start))
        yield from range(start, self.count)


class Sum:
    """The metric of a phase is the sum of its batches."""

    def __init__(self) -> None:
        self.total = 0
        self.starts = 0

    def start_phase(self) -> None:
        self.total, self.starts = 0, self.starts + 1

    def resume_phase(self) -> None: ...

    def __call__(self, batch: int, state: RunState) -> None:
        self.total += batch

    def compute_metrics(self) -> dict[str, float]:
        return {"loss": float(self.total)}


def build_loop(*callbacks: Callback, num_batches: int = 2, validates: bool = True) -> Loop[int]:
    valid = (Numbers(1), Sum()) if validates else None
    return Loop((Numbers(num_batches), Sum()), valid, CallbackHandler(callbacks))


BATCH = ["on_train_batch_begin", "on_train_batch_end"]
VALID = ["on_valid_begin", "on_valid_batch_begin", "on_valid_batch_end", "on_valid_end"]
EPOCH = ["on_epoch_begin", "on_train_begin", *BATCH, *BATCH, "on_train_end", *VALID, "on_epoch_end"]


def test_hooks_are_called_in_luz_order() -> None:
    calls: list[str] = []
    build_loop(build_hook_recorder(calls)).fit(RunState(max_epochs=2, steps_per_epoch=2))
    assert calls == ["on_fit_begin", *EPOCH, *EPOCH, "on_fit_end"]


def test_state_has_metrics_from_both_phases() -> None:
    state = build_loop(num_batches=3).fit(RunState(max_epochs=1, steps_per_epoch=3))
    assert state.metrics == {"train_loss": 3.0, "valid_loss": 0.0}
    assert (state.epoch, state.batch, state.step, state.phase) == (1, 3, 3, "end")


def test_epoch_ends_without_validation() -> None:
    calls: list[str] = []
    build_loop(build_hook_recorder(calls), validates=False).fit(RunState(max_epochs=1, steps_per_epoch=2))
    assert calls[-3:] == ["on_train_end", "on_epoch_end", "on_fit_end"]


def test_error_calls_on_exception_and_skips_on_fit_end() -> None:
    class Broken(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            raise ZeroDivisionError

    calls: list[str] = []
    with pytest.raises(Exception, match="Broken"):
        build_loop(build_hook_recorder(calls), Broken()).fit(RunState(max_epochs=1, steps_per_epoch=2))
    assert "on_exception" in calls
    assert "on_fit_end" not in calls


def test_stop_ends_the_run_after_the_epoch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            state.stop("enough")

    state = build_loop(Stop()).fit(RunState(max_epochs=9, steps_per_epoch=2))
    assert (state.epoch, state.step, state.stop_reason) == (1, 2, "enough")


def test_immediate_stop_validates_and_ends_the_epoch_early() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            state.stop("enough", at_once=True)

    calls: list[str] = []
    state = build_loop(Stop(), build_hook_recorder(calls), num_batches=5).fit(RunState(max_epochs=9, steps_per_epoch=5))
    assert (state.step, state.phase) == (1, "end")
    assert calls[-3:] == ["on_valid_end", "on_epoch_end", "on_fit_end"]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_resumed_run_makes_exactly_the_remaining_calls(step: int) -> None:
    calls: list[str] = []
    state = RunState(max_epochs=2, steps_per_epoch=2)
    build_loop(build_hook_recorder(calls), InterruptAt(step)).fit(state)
    assert calls[-2:] == ["on_interrupt", "on_fit_end"]
    first = calls[1:-2]

    resumed, again = RunState(max_epochs=2, steps_per_epoch=2), list[str]()
    resumed.load_state_dict(state.state_dict())
    build_loop(build_hook_recorder(again)).fit(resumed)
    assert [*first, *again[1:-1]] == [*EPOCH, *EPOCH]
    assert resumed.step == 4


def test_run_that_is_stopped_and_interrupted_at_a_step_resumes_without_another_one() -> None:
    class StopAt(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            if state.step >= 2:
                state.stop("enough", at_once=True)

    state = RunState(max_epochs=2, steps_per_epoch=4)
    build_loop(InterruptAt(2), StopAt(), num_batches=4).fit(state)
    resumed, calls = RunState(max_epochs=2, steps_per_epoch=4), list[str]()
    resumed.load_state_dict(state.state_dict())
    build_loop(StopAt(), build_hook_recorder(calls), num_batches=4).fit(resumed)
    assert (resumed.step, resumed.is_done) == (2, True)
    assert calls == ["on_fit_begin", "on_train_end", *VALID, "on_epoch_end", "on_fit_end"]


def test_interrupted_validation_starts_again() -> None:
    class InValidation(Callback):
        def on_valid_batch_end(self, state: RunState) -> None:
            state.interrupt()

    state = RunState(max_epochs=1, steps_per_epoch=2)
    Loop((Numbers(2), Sum()), (Numbers(3), Sum()), CallbackHandler([InValidation()])).fit(state)
    assert (state.phase, "valid_loss" in state.metrics) == ("valid", False)
    resumed, calls = RunState(max_epochs=1, steps_per_epoch=2), list[str]()
    resumed.load_state_dict(state.state_dict())
    build_loop(build_hook_recorder(calls)).fit(resumed)
    assert calls == ["on_fit_begin", *VALID, "on_epoch_end", "on_fit_end"]


def test_finished_run_does_nothing() -> None:
    calls: list[str] = []
    state = RunState(max_epochs=2, steps_per_epoch=2, epoch=1, stop_reason="enough")
    build_loop(build_hook_recorder(calls)).fit(state)
    assert calls == ["on_fit_begin", "on_fit_end"]
