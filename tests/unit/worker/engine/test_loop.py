"""The loop alone: numbers for batches, steps that only count."""

from collections.abc import Iterator

import pytest

from tests.support.training import InterruptAt, recorder
from worker.engine.callback import Callback, CallbackHandler
from worker.engine.loop import Loop
from worker.engine.state import RunState


class Numbers:
    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[int, int]] = []

    def epoch(self, number: int, start: int = 0) -> Iterator[int]:
        self.asked.append((number, start))
        yield from range(start, self.count)


class Sum:
    """The phase's value is the sum of its batches."""

    def __init__(self) -> None:
        self.total = 0
        self.began = 0

    def begin(self) -> None:
        self.total, self.began = 0, self.began + 1

    def resume(self) -> None: ...

    def __call__(self, batch: int, state: RunState) -> None:
        self.total += batch

    def end(self) -> dict[str, float]:
        return {"loss": float(self.total)}


def loop_of(*callbacks: Callback, num_batches: int = 2, validates: bool = True) -> Loop[int]:
    valid = (Numbers(1), Sum()) if validates else None
    return Loop((Numbers(num_batches), Sum()), valid, CallbackHandler(callbacks))


BATCH = ["on_train_batch_begin", "on_train_batch_end"]
VALID = ["on_valid_begin", "on_valid_batch_begin", "on_valid_batch_end", "on_valid_end"]
EPOCH = ["on_epoch_begin", "on_train_begin", *BATCH, *BATCH, "on_train_end", *VALID, "on_epoch_end"]


def test_hooks_are_called_in_luz_order() -> None:
    calls: list[str] = []
    loop_of(recorder(calls)).fit(RunState(max_epochs=2, steps_per_epoch=2))
    assert calls == ["on_fit_begin", *EPOCH, *EPOCH, "on_fit_end"]


def test_metrics_of_both_phases_are_in_the_state() -> None:
    state = loop_of(num_batches=3).fit(RunState(max_epochs=1, steps_per_epoch=3))
    assert state.metrics == {"train_loss": 3.0, "valid_loss": 0.0}
    assert (state.epoch, state.batch, state.step, state.phase) == (1, 3, 3, "end")


def test_without_validation_an_epoch_still_ends() -> None:
    calls: list[str] = []
    loop_of(recorder(calls), validates=False).fit(RunState(max_epochs=1, steps_per_epoch=2))
    assert calls[-3:] == ["on_train_end", "on_epoch_end", "on_fit_end"]


def test_an_error_calls_on_exception_and_not_on_fit_end() -> None:
    class Broken(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            raise ZeroDivisionError

    calls: list[str] = []
    with pytest.raises(Exception, match="Broken"):
        loop_of(recorder(calls), Broken()).fit(RunState(max_epochs=1, steps_per_epoch=2))
    assert "on_exception" in calls
    assert "on_fit_end" not in calls


def test_a_stop_ends_the_run_after_the_epoch() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            state.stop("enough")

    state = loop_of(Stop()).fit(RunState(max_epochs=9, steps_per_epoch=2))
    assert (state.epoch, state.step, state.stop_reason) == (1, 2, "enough")


def test_a_stop_at_once_validates_and_ends_the_epoch_early() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, state: RunState) -> None:
            state.stop("enough", at_once=True)

    calls: list[str] = []
    state = loop_of(Stop(), recorder(calls), num_batches=5).fit(RunState(max_epochs=9, steps_per_epoch=5))
    assert (state.step, state.phase) == (1, "end")
    assert calls[-3:] == ["on_valid_end", "on_epoch_end", "on_fit_end"]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_an_interrupted_run_makes_exactly_the_calls_that_were_left(step: int) -> None:
    calls: list[str] = []
    state = RunState(max_epochs=2, steps_per_epoch=2)
    loop_of(recorder(calls), InterruptAt(step)).fit(state)
    assert calls[-2:] == ["on_interrupt", "on_fit_end"]
    first = calls[1:-2]

    resumed, again = RunState(max_epochs=2, steps_per_epoch=2), list[str]()
    resumed.load_state_dict(state.state_dict())
    loop_of(recorder(again)).fit(resumed)
    assert [*first, *again[1:-1]] == [*EPOCH, *EPOCH]
    assert resumed.step == 4


def test_an_interrupt_in_the_validation_does_it_anew_later() -> None:
    class InValidation(Callback):
        def on_valid_batch_end(self, state: RunState) -> None:
            state.interrupt()

    state = RunState(max_epochs=1, steps_per_epoch=2)
    Loop((Numbers(2), Sum()), (Numbers(3), Sum()), CallbackHandler([InValidation()])).fit(state)
    assert (state.phase, "valid_loss" in state.metrics) == ("valid", False)
    resumed, calls = RunState(max_epochs=1, steps_per_epoch=2), list[str]()
    resumed.load_state_dict(state.state_dict())
    loop_of(recorder(calls)).fit(resumed)
    assert calls == ["on_fit_begin", *VALID, "on_epoch_end", "on_fit_end"]


def test_a_finished_run_does_nothing_more() -> None:
    calls: list[str] = []
    state = RunState(max_epochs=2, steps_per_epoch=2, epoch=1, stop_reason="enough")
    loop_of(recorder(calls)).fit(state)
    assert calls == ["on_fit_begin", "on_fit_end"]
