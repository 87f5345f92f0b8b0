"""The metrics of all epochs of a run, for its learning curve."""

from collections.abc import Mapping
from typing import Any

MAX_EPOCHS = 1000
"""Maximum number of epochs to keep. Every snapshot contains them, and a plot cannot show more."""


class MetricHistory:
    """Records the metrics of every epoch. Of a run with more than `MAX_EPOCHS` epochs, every second epoch is dropped.

    Attributes:
        epochs: the numbers of the epochs.
        values: the values of each metric, such as `valid_loss`. None: the epoch has no value.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.values: dict[str, list[float | None]] = {}

    def record(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of an epoch."""
        for name in metrics:
            self.values.setdefault(name, [None] * len(self.epochs))
        self.epochs.append(epoch)
        for name, column in self.values.items():
            column.append(metrics.get(name))
        if len(self.epochs) > MAX_EPOCHS:
            self.epochs = self.epochs[::2]
            self.values = {name: column[::2] for name, column in self.values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as JSON values."""
        return {"epochs": list(self.epochs), "values": {name: list(column) for name, column in self.values.items()}}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "MetricHistory":
        """Restore what `to_dict` returned."""
        history = cls()
        history.epochs = list(document["epochs"])
        history.values = {name: list(column) for name, column in document["values"].items()}
        return history
