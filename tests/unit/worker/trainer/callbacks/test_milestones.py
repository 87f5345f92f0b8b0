"""Milestones interrupt a run at the end of their epochs."""

import pytest

from worker.engine.state import RunState
from worker.trainer.callbacks import MilestoneCallback


def build_state(epoch: int, **fields: object) -> RunState:
    return RunState(max_epochs=9, steps_per_epoch=5, epoch=epoch, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("epoch", "is_milestone"), [(1, True), (2, False), (3, True), (9, False)])
def test_a_milestone_interrupts_the_run_at_its_end_unless_it_is_the_last_epoch(epoch: int, is_milestone: bool) -> None:
    callback, state = MilestoneCallback([1, 3, 9], 0), build_state(epoch)
    callback.on_epoch_end(state)
    assert (state.is_interrupted, callback.reached) == (is_milestone, epoch if is_milestone else None)


def test_a_run_that_is_complete_is_not_interrupted() -> None:
    callback, state = MilestoneCallback([3], 0), build_state(3)
    state.stop("early stopping")
    callback.on_epoch_end(state)
    assert (state.is_interrupted, callback.reached) == (False, None)


@pytest.mark.parametrize(
    ("passed_epoch", "epoch", "phase", "is_interrupted"),
    [
        (0, 3, "end", True),  # killed after the snapshot of the milestone
        (1, 3, "end", True),
        (3, 3, "end", False),  # paused there, and resumed
        (9, 3, "end", False),  # later snapshots are damaged
        (0, 3, "train", False),  # a snapshot within the epoch
        (0, 4, "end", False),
        (None, 3, "end", False),  # no supervisor knows where the job paused
    ],
)
def test_a_run_restored_at_a_milestone_is_interrupted_unless_the_job_paused_there(
    passed_epoch: int | None, epoch: int, phase: str, is_interrupted: bool
) -> None:
    callback, state = MilestoneCallback([1, 3, 9], passed_epoch), build_state(epoch, phase=phase)
    callback.on_fit_begin(state)
    assert (state.is_interrupted, callback.reached) == (is_interrupted, 3 if is_interrupted else None)


def test_a_milestone_after_a_restored_one_interrupts_the_run_without_a_supervisor() -> None:
    callback, state = MilestoneCallback([3, 5], None), build_state(3)
    callback.on_fit_begin(state)
    state.epoch = 5
    callback.on_epoch_end(state)
    assert callback.reached == 5


def test_epochs_before_an_extension_are_no_milestones() -> None:
    callback, state = MilestoneCallback([3, 5], 0), build_state(3)
    state.extend(3)
    callback.on_fit_begin(state)
    assert not state.is_interrupted
    state.epoch = 5
    callback.on_epoch_end(state)
    assert state.is_interrupted
