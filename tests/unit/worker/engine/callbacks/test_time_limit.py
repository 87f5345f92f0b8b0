"""Tests of the time limit with an injected clock."""

from worker.engine.callbacks import TimeLimit
from worker.engine.state import RunState


def test_run_stops_after_the_step_that_exceeds_the_limit() -> None:
    now = iter([0.0, 4.9, 5.0])
    callback = TimeLimit(seconds=5, clock=lambda: next(now))
    state = RunState(max_epochs=9, steps_per_epoch=9)
    callback.on_fit_begin(state)
    reasons = []
    for _ in range(2):
        callback.on_train_batch_end(state)
        reasons.append(state.stop_reason)
    assert reasons == [None, "time limit of 5 s reached"]
    assert state.stop_immediately


def test_earlier_attempts_count() -> None:
    now = [0.0]
    first, second = (TimeLimit(seconds=5, clock=lambda: now[0]) for _ in range(2))
    state = RunState(max_epochs=9, steps_per_epoch=9)
    first.on_fit_begin(state)
    now[0] = 3.0
    second.load_state_dict(first.state_dict())
    now[0] = 100.0  # time between two attempts does not count
    second.on_fit_begin(state)
    now[0] = 101.5
    second.on_train_batch_end(state)
    assert state.stop_reason is None
    now[0] = 102.0
    second.on_train_batch_end(state)
    assert state.stop_reason is not None


def test_time_before_an_extension_does_not_count() -> None:
    now = [0.0]
    callback = TimeLimit(seconds=5, clock=lambda: now[0])
    callback.load_state_dict({"spent_s": 9.0})
    callback.restart()
    state = RunState(max_epochs=9, steps_per_epoch=9)
    callback.on_fit_begin(state)
    now[0] = 4.0
    callback.on_train_batch_end(state)
    assert state.stop_reason is None
