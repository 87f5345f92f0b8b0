"""Tests of the run's state."""

import pytest

from worker.engine.state import RunState


@pytest.mark.parametrize(
    ("phase", "epoch", "reason", "is_done"),
    [("end", 3, None, True), ("end", 2, None, False), ("end", 2, "stopped", True), ("valid", 3, "stopped", False)],
)
def test_run_is_done_after_its_last_epoch(phase: str, epoch: int, reason: str | None, is_done: bool) -> None:
    state = RunState(max_epochs=3, steps_per_epoch=5, epoch=epoch, stop_reason=reason)
    state.phase = phase  # type: ignore[assignment]  # a literal of the state
    assert state.is_done is is_done


def test_first_stop_reason_wins() -> None:
    state = RunState(max_epochs=3, steps_per_epoch=5)
    state.stop("first")
    assert not state.stop_immediately
    state.stop("second", at_once=True)
    assert (state.stop_reason, state.stop_immediately) == ("first", True)


def test_state_survives_a_round_trip() -> None:
    state = RunState(max_epochs=3, steps_per_epoch=5, epoch=2, batch=3, step=8, phase="train", seconds=1.5)
    state.metrics = {"valid_loss": 0.25}
    state.stop("time limit", at_once=True)
    other = RunState(max_epochs=3, steps_per_epoch=5)
    other.load_state_dict(state.state_dict())
    assert other == state


def test_extended_run_is_not_done() -> None:
    state = RunState(max_epochs=5, steps_per_epoch=4, epoch=3, step=10)
    state.stop("time limit", at_once=True)
    state.extend(3)
    assert (state.is_done, state.stop_immediately, state.has_trained_epoch) == (False, False, False)
    assert (state.num_planned_steps, state.num_steps) == (8, 18)  # the time limit skipped two steps
    state.epoch, state.phase, state.batch, state.step = 4, "train", 1, 11
    assert (state.has_trained_epoch, state.num_planned_steps, state.num_steps) == (True, 7, 18)
