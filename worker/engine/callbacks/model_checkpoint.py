"""Selects the epochs whose snapshots are kept. It does not write snapshots."""

from typing import Any

from worker.engine.callback import Callback
from worker.engine.callbacks.best_metric import BestMetric, Mode
from worker.engine.state import RunState


class ModelCheckpoint(Callback):
    """Tags every `every_epochs`-th epoch as "kept", or with `save_best_only` only epochs that improve `monitor`.

    Epochs that improve the metric `monitor` are also tagged "best". Only the last `keep` epochs with the tag "kept" are
    retained (default: all). Source: luz_callback_model_checkpoint.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        mode: Mode = "auto",
        *,
        min_delta: float = 0.0,
        save_best_only: bool = False,
        every_epochs: int = 1,
        keep: int | None = None,
    ) -> None:
        self._best_metric = BestMetric(monitor, mode, min_delta)
        self._save_best_only = save_best_only
        self._every_epochs = every_epochs
        self._max_retained = keep
        self._retained_epochs: list[int] = []

    def on_epoch_end(self, state: RunState) -> None:
        is_best = self._best_metric.update(state.metrics[self._best_metric.monitor])
        if is_best:
            state.tags.add("best")
        if is_best if self._save_best_only else state.epoch % self._every_epochs == 0:
            state.tags.add("kept")
            self._retained_epochs.append(state.epoch)
            if self._max_retained is not None:
                self._retained_epochs = self._retained_epochs[-self._max_retained :]
        state.retained_epochs.update(self._retained_epochs)

    def state_dict(self) -> dict[str, Any]:
        return {"record": self._best_metric.state_dict(), "kept": self._retained_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_metric.load_state_dict(state_dict["record"])
        self._retained_epochs = list(state_dict["kept"])

    def load_from_other_run(self, state_dict: dict[str, Any]) -> None:
        self._best_metric.load_state_dict(state_dict["record"])  # the other run's epochs are not retained
