"""Says which epochs' snapshots are to be kept; it writes none itself."""

from typing import Any

from worker.engine.callback import Callback
from worker.engine.callbacks.best_metric import BestMetric, Mode
from worker.engine.state import RunState


class ModelCheckpoint(Callback):
    """Tags an epoch "kept" every `every_epochs` epochs, or only those that improve; these are tagged "best" as well.

    Which epochs are kept, this one or earlier ones, is told at each epoch's end: of more than `keep` the oldest go.
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
        keep: int | None = None,
    ) -> None:
        self._record = BestMetric(monitor, mode, min_delta)
        self._save_best_only = save_best_only
        self._every_epochs = every_epochs
        self._keep = keep
        self._kept: list[int] = []

    def on_epoch_end(self, state: RunState) -> None:
        is_best = self._record.improves(state.metrics[self._record.monitor])
        if is_best:
            state.tags.add("best")
        if is_best if self._save_best_only else state.epoch % self._every_epochs == 0:
            state.tags.add("kept")
            self._kept.append(state.epoch)
            if self._keep is not None:
                self._kept = self._kept[-self._keep :]
        state.kept.update(self._kept)

    def state_dict(self) -> dict[str, Any]:
        return {"record": self._record.state_dict(), "kept": self._kept}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._record.load_state_dict(saved["record"])
        self._kept = list(saved["kept"])

    def load_from_other_run(self, saved: dict[str, Any]) -> None:
        self._record.load_state_dict(saved["record"])  # the epochs that are kept are those of the other run
