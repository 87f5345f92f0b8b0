"""Stops a run when its training time reaches a limit."""

import time
from collections.abc import Callable
from typing import Any

from worker.engine.callback import Callback
from worker.engine.state import RunState


class TimeLimit(Callback):
    """Stops the run when it has trained for `seconds` seconds, summed over all attempts.

    No further training step is run. The current epoch is validated and ended, so that the run has validation metrics.
    The time of an extension is counted separately.
    """

    def __init__(self, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = seconds
        self._clock = clock
        self._spent_before_s = 0.0
        self._started_at: float | None = None

    def on_fit_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    def on_train_batch_end(self, state: RunState) -> None:
        self._check_limit(state)

    def on_epoch_end(self, state: RunState) -> None:
        self._check_limit(state)

    def _check_limit(self, state: RunState) -> None:
        if self._get_spent_s() >= self._limit_s:
            state.stop(f"time limit of {self._limit_s:g} s reached", at_once=True)

    def _get_spent_s(self) -> float:
        return self._spent_before_s + (0.0 if self._started_at is None else self._clock() - self._started_at)

    def state_dict(self) -> dict[str, Any]:
        return {"spent_s": self._get_spent_s()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._spent_before_s = state_dict["spent_s"]

    def restart(self) -> None:
        """Measure the time of the extension only."""
        self._spent_before_s = 0.0
