"""Keeps the weights of the best epoch. They are registered instead of the weights of the last epoch."""

from typing import Any

from torch import Tensor, nn

from worker.engine.callback import Callback
from worker.engine.callbacks.best_metric import BestMetric, Mode
from worker.engine.state import RunState


class KeepBest(Callback):
    """Copies the network's state dict when the metric `monitor` improves.

    Source: luz_callback_keep_best_model. Unlike in luz, a resumed run keeps the best value.

    Attributes:
        weights: the network's state dict after the best epoch. It is empty before the end of the first epoch.
        metrics: the metrics of the best epoch.
        epoch: the best epoch. None if a snapshot of an earlier version, which does not contain it, was restored.
    """

    def __init__(
        self, network: nn.Module, monitor: str = "valid_loss", mode: Mode = "auto", *, min_delta: float = 0.0
    ) -> None:
        self._network = network
        self._best_metric = BestMetric(monitor, mode, min_delta)
        self.weights: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}
        self.epoch: int | None = None

    def on_epoch_end(self, state: RunState) -> None:
        if self._best_metric.update(state.metrics[self._best_metric.monitor]):
            state.tags.add("best")
            self.weights = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
            self.metrics, self.epoch = dict(state.metrics), state.epoch

    def state_dict(self) -> dict[str, Any]:
        record = self._best_metric.state_dict()
        return {"record": record, "weights": self.weights, "metrics": self.metrics, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_metric.load_state_dict(state_dict["record"])
        self.weights, self.metrics = state_dict["weights"], state_dict["metrics"]
        self.epoch = state_dict.get("epoch")

    def load_from_other_run(self, state_dict: dict[str, Any]) -> None:
        self.load_state_dict({**state_dict, "epoch": None})  # the epoch is a number of the other run
