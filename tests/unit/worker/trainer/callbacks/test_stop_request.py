"""Stop requests applied to the state of a run."""

import pytest

from core.jobs import StopMode
from tests.support.training import RecordingChannel
from worker.engine.state import RunState
from worker.trainer.callbacks import StopRequestCallback


@pytest.mark.parametrize("mode", [StopMode.CANCEL, StopMode.PAUSE, StopMode.PREEMPT])
def test_immediate_stop_interrupts_the_run_after_a_batch(mode: StopMode) -> None:
    channel, state = RecordingChannel(), RunState(max_epochs=2, steps_per_epoch=5)
    callback = StopRequestCallback(channel)
    callback.on_train_batch_end(state)
    assert not state.is_interrupted
    channel.request_stop(mode)
    callback.on_train_batch_end(state)
    assert (state.is_interrupted, state.stop_reason) == (True, None)


def test_finish_stops_the_run_but_not_before_the_first_epoch() -> None:
    channel, state = RecordingChannel(), RunState(max_epochs=2, steps_per_epoch=5)
    callback = StopRequestCallback(channel)
    channel.request_stop(StopMode.FINISH)
    callback.on_fit_begin(state)
    assert not state.is_done
    state.epoch = 1
    callback.on_epoch_end(state)
    assert (state.stop_reason, state.is_interrupted) == ("user_finished", False)


def test_finish_does_not_stop_an_extension_before_its_first_epoch() -> None:
    channel, state = RecordingChannel(), RunState(max_epochs=5, steps_per_epoch=5, epoch=3)
    state.extend(3)
    channel.request_stop(StopMode.FINISH)
    StopRequestCallback(channel).on_fit_begin(state)
    assert not state.is_done
