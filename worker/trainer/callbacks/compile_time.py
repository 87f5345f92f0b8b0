"""Logs the duration of the first batches, which includes the compilation of the network."""

import time
from collections.abc import Callable

from worker.engine.callback import Callback
from worker.engine.state import RunState
from worker.trainer.channel import Channel


class CompileTimeCallback(Callback):
    """Logs the duration of the first training step and of the first validation batch. Both include compilation."""

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.perf_counter) -> None:
        self._channel = channel
        self._clock = clock
        self._started_at = 0.0
        self._pending = {"training step", "validation batch"}

    def on_train_batch_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    on_valid_batch_begin = on_train_batch_begin

    def on_train_batch_end(self, state: RunState) -> None:
        self._log_duration("training step", state)

    def on_valid_batch_end(self, state: RunState) -> None:
        self._log_duration("validation batch", state)

    def _log_duration(self, unit: str, state: RunState) -> None:
        if unit not in self._pending:
            return
        self._pending.remove(unit)
        if state.loss is not None:
            state.loss.item()  # wait until the device has finished the batch
        duration_s = self._clock() - self._started_at
        self._channel.send_log(f"The first {unit} took {duration_s:.1f} s, including compilation.")
