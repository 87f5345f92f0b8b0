"""Draws the learning curve of a training as an artifact, in a separate thread."""

import threading
import time
from collections.abc import Callable
from typing import ClassVar

from worker.engine import plots
from worker.engine.callback import Callback, SaveArtifact, Warn
from worker.engine.metric_history import MetricHistory
from worker.engine.state import RunState

NAME = "learning_curve.png"
KEY = "metric_history"
"""The key of the history in the metadata of snapshots."""


class LearningCurveCallback(Callback):
    """Draws the curve at the end of the run, also after an error, and at most every `every_s` seconds before.

    A thread draws, so that the next epoch does not wait. matplotlib is imported for the first drawing. If a drawing
    fails, a warning is logged.

    Args:
        history: the metrics of the epochs before this attempt. New epochs are added to it.
        save_artifact: stores a file.
        warn: called with a message if a drawing fails.
        get_best_epoch: returns the epoch to mark, or None.
        is_preempted: returns whether the run continues on another worker, which then draws the curve.
        every_s: minimum time from the start or the last drawing to a drawing during the run. Default: 60.
        clock: returns the time of a monotonic clock, in seconds.
    """

    is_optional: ClassVar[bool] = True

    def __init__(
        self,
        history: MetricHistory,
        save_artifact: SaveArtifact,
        warn: Warn,
        *,
        get_best_epoch: Callable[[], int | None] = lambda: None,
        is_preempted: Callable[[], bool] = lambda: False,
        every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._save_artifact = save_artifact
        self._warn = warn
        self._get_best_epoch = get_best_epoch
        self._is_preempted = is_preempted
        self._every_s = every_s
        self._clock = clock
        self._drawn_at = clock()
        self._thread: threading.Thread | None = None

    def on_epoch_end(self, state: RunState) -> None:
        self._history.record(state.epoch, state.metrics)
        is_idle = self._thread is None or not self._thread.is_alive()
        if is_idle and self._clock() - self._drawn_at >= self._every_s and not state.is_done:
            self._start_drawing()

    def on_fit_end(self, state: RunState) -> None:
        if not (state.is_interrupted and self._is_preempted()):
            self._start_drawing()

    def on_exception(self, state: RunState) -> None:
        self._start_drawing()
        self.wait()

    def wait(self) -> None:
        """Wait until the last drawing is saved. Call this before the final message of the job."""
        if self._thread is not None:
            self._thread.join()

    def _start_drawing(self) -> None:
        self.wait()
        if not self._history.epochs:
            return
        history, best_epoch = self._history.to_dict(), self._get_best_epoch()
        self._thread = threading.Thread(
            target=self._draw, args=(MetricHistory.from_dict(history), best_epoch), name="learning-curve", daemon=True
        )
        self._thread.start()
        self._drawn_at = self._clock()

    def _draw(self, history: MetricHistory, best_epoch: int | None) -> None:
        try:
            self._save_artifact(NAME, plots.PNG, plots.plot_learning_curve(history, best_epoch))
        except Exception as error:  # noqa: BLE001 - the model does not depend on the plot
            self._warn(f"The learning curve could not be drawn: {type(error).__name__}: {error}")
