"""Ends a run after a fixed number of steps, where the training that it repeats was ended."""

from worker.engine.callback import Callback
from worker.engine.state import RunState


class StopAfterStepCallback(Callback):
    """Ends the run after a step: the remaining steps of the epoch are skipped, and the epoch is validated and ended."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, state: RunState) -> None:
        if state.step >= self._step:
            state.stop(f"step {self._step} reached, at which the original ended", at_once=True)
