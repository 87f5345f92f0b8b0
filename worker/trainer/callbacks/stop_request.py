"""Applies the supervisor's stop request to the run."""

from core.jobs import StopMode
from worker.engine.callback import Callback
from worker.engine.state import RunState
from worker.trainer.channel import Channel


class StopRequestCallback(Callback):
    """Stops or interrupts the run on a stop request of the supervisor.

    Stop requests are checked at the start of the run, after each batch and after each epoch.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def on_fit_begin(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_train_batch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._apply_stop_request(state)

    def _apply_stop_request(self, state: RunState) -> None:
        if self._channel.stop_mode == StopMode.FINISH:
            if state.has_trained_epoch:  # before the first epoch there is no new model to register
                state.stop("user_finished")
        elif self._channel.stop_mode is not None:
            state.interrupt()
