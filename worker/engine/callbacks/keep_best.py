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
    """

    def __init__(
        self, network: nn.Module, monitor: str = "valid_loss", mode: Mode = "auto", *, min_delta: float = 0.0
    ) -> None:
        self._network = network
        self._best_metric = BestMetric(monitor, mode, min_delta)
        self.weights: dict[str, Tensor] = {}
        self.metrics: dict[str, float] = {}

    def on_epoch_end(self, state: RunState) -> None:
        if self._best_metric.update(state.metrics[self._best_metric.monitor]):
            state.tags.add("best")
            self.weights = {name: value.detach().clone() for name, value in self._network.state_dict().items()}
            self.metrics = dict(state.metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"record": self._best_metric.state_dict(), "weights": self.weights, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best_metric.load_state_dict(state_dict["record"])
        self.weights, self.metrics = state_dict["weights"], state_dict["metrics"]
