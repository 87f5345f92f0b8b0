"""A reproduction ends at the step at which its original was ended."""

from worker.engine.state import RunState
from worker.trainer.callbacks import StopAfterStepCallback


def test_the_run_ends_at_the_step_and_not_before() -> None:
    callback, state = StopAfterStepCallback(7), RunState(max_epochs=9, steps_per_epoch=5, step=6)
    callback.on_train_batch_end(state)
    assert (state.stop_reason, state.stop_immediately) == (None, False)
    state.step = 7
    callback.on_train_batch_end(state)
    assert (state.stop_reason, state.stop_immediately) == ("step 7 reached, at which the original ended", True)
