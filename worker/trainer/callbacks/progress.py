"""Sends the progress of tuning, evaluation, prediction and export."""

import math
import time
from collections.abc import Callable

from core.jobs import IMMEDIATE_STOP_MODES
from worker.engine.callback import Callback
from worker.engine.run import EvaluationInterrupted
from worker.engine.state import RunState
from worker.protocol import CurvePoint, Metrics, RunProgress, TrainerAlive
from worker.trainer.channel import Channel


class ProgressReporter(Callback):
    """Sends progress at most once per `every_s` seconds, and interrupts the job on an immediate stop request.

    Args:
        steps: number of steps of the job.
        is_quiet: whether to send `TrainerAlive` instead of progress. Default: False.
        every_s: minimum time between two messages, in seconds. Default: 0.5.
    """

    def __init__(
        self,
        channel: Channel,
        steps: int,
        *,
        is_quiet: bool = False,
        every_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel = channel
        self._steps = steps
        self._is_quiet = is_quiet
        self._every_s = every_s
        self._clock = clock
        self._started_at = clock()
        self._sent_at = -math.inf

    @property
    def is_stop_requested(self) -> bool:
        return self._channel.stop_mode in IMMEDIATE_STOP_MODES

    def check_stop_request(self) -> None:
        """Raise an exception if the job must stop immediately.

        Raises:
            EvaluationInterrupted: a stop is requested.
        """
        if self.is_stop_requested:
            raise EvaluationInterrupted

    def on_train_batch_end(self, state: RunState) -> None:
        self.report_step(state.step)
        if self.is_stop_requested:
            state.interrupt()

    def report_step(self, step: int, points: tuple[CurvePoint, ...] = ()) -> None:
        """Report that `step` steps are complete. A report with points, or of the last step, is sent without delay."""
        if not points and step < self._steps and self._clock() - self._sent_at < self._every_s:
            return
        self._sent_at = self._clock()
        if self._is_quiet:
            self._channel.send(TrainerAlive())
            return
        eta_s = (self._sent_at - self._started_at) / step * (self._steps - step) if step else None
        progress = RunProgress(epoch=1, epochs=1, step=step, steps=self._steps, eta_seconds=eta_s)
        self._channel.send(Metrics(points=points, latest={}, progress=progress))
