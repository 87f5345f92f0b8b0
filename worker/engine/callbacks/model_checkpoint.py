"""Says which epochs' snapshots are to be kept; it writes none itself."""

from typing import Any

from worker.engine.callback import Callback
from worker.engine.callbacks.record import Mode, Record
from worker.engine.state import RunState


class ModelCheckpoint(Callback):
    """Tags an epoch "kept" every `every_epochs` epochs, or only those that improve; these are tagged "best" as well.

    Source: luz_callback_model_checkpoint.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        mode: Mode = "auto",
        *,
        min_delta: float = 0.0,
        save_best_only: bool = False,
        every_epochs: int = 1,
    ) -> None:
        self._record = Record(monitor, mode, min_delta)
        self._save_best_only = save_best_only
        self._every_epochs = every_epochs

    def on_epoch_end(self, state: RunState) -> None:
        is_best = self._record.improves(state.metrics[self._record.monitor])
        if is_best:
            state.tags.add("best")
        if is_best if self._save_best_only else state.epoch % self._every_epochs == 0:
            state.tags.add("kept")

    def state_dict(self) -> dict[str, Any]:
        return self._record.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._record.load_state_dict(saved)
