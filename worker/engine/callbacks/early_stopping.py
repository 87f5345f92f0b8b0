"""Stops a run when a metric no longer improves."""

from functools import partial
from typing import Any

from worker.engine.callback import Callback
from worker.engine.callbacks.best_metric import BestMetric, Mode
from worker.engine.state import RunState


class EarlyStopping(Callback):
    """Stops the run after `patience` consecutive epochs without improvement.

    With a `baseline`, an epoch counts as an improvement only if its metric is better than the baseline.
    Source: luz_callback_early_stopping. As in Keras, only epochs without improvement are counted.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        mode: Mode = "auto",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        baseline: float | None = None,
        min_epochs: int = 0,
    ) -> None:
        self._create_best_metric = partial(BestMetric, monitor, mode, min_delta, baseline)
        self._best_metric = self._create_best_metric()
        self._patience = patience
        self._min_epochs = min_epochs
        self._num_bad_epochs = 0

    def on_epoch_end(self, state: RunState) -> None:
        if self._best_metric.update(state.metrics[self._best_metric.monitor]):
            self._num_bad_epochs = 0
            return
        self._num_bad_epochs += 1
        if self._num_bad_epochs >= self._patience and state.epoch >= self._min_epochs:
            best = "finite" if self._best_metric.best is None else f"better than {self._best_metric.best:.6g}"
            state.stop(f"{self._best_metric.monitor} has not been {best} for {self._num_bad_epochs} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"waited": self._num_bad_epochs, "record": self._best_metric.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._num_bad_epochs = state_dict["waited"]
        self._best_metric.load_state_dict(state_dict["record"])

    def restart(self) -> None:
        """Wait for the full patience again, and compare only epochs of the extension with each other."""
        self._num_bad_epochs = 0
        self._best_metric = self._create_best_metric()
