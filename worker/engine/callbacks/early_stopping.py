"""Ends a run that no longer gets better."""

from typing import Any

from worker.engine.callback import Callback
from worker.engine.callbacks.best_metric import BestMetric, Mode
from worker.engine.state import RunState


class EarlyStopping(Callback):
    """Stops once `patience` epochs in a row were no better than the best before them.

    With a `baseline` even the first epoch must be better than it. Source: luz_callback_early_stopping; epochs are
    counted as Keras does, only those without improvement.
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
        self._record = BestMetric(monitor, mode, min_delta, baseline)
        self._patience = patience
        self._min_epochs = min_epochs
        self._waited = 0

    def on_epoch_end(self, state: RunState) -> None:
        if self._record.improves(state.metrics[self._record.monitor]):
            self._waited = 0
            return
        self._waited += 1
        if self._waited >= self._patience and state.epoch >= self._min_epochs:
            best = "finite" if self._record.best is None else f"better than {self._record.best:.6g}"
            state.stop(f"{self._record.monitor} has not been {best} for {self._waited} epochs")

    def state_dict(self) -> dict[str, Any]:
        return {"waited": self._waited, "record": self._record.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._waited = saved["waited"]
        self._record.load_state_dict(saved["record"])
