"""Accumulates the loss and the metrics over a phase. Most steps do not wait for the device."""

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import Metric

MAX_PENDING_BATCHES = 32
MAX_PENDING_VALUES = 2**20
Gather = Callable[[Tensor], Tensor]


def _is_distributed() -> bool:
    """Return False, so that torchmetrics does not reduce over processes. Accumulators already add the whole batches."""
    return False


class PendingBatch(NamedTuple):
    """A batch that has not been added to the sums yet."""

    pred: Tensor
    target: Tensor
    loss: Tensor
    total_weight: Tensor | None


class MetricAccumulator:
    """Collects batches, and adds them to the sums of the loss and the metrics in groups.

    A group ends after a fixed number of batches or values, so that reading the sums does not change their rounding.
    Snapshots contain the batches of an incomplete group.
    """

    def __init__(
        self, metrics: Mapping[str, "Metric"], adapt: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        """`adapt` converts raw scores (N, num_outputs) and targets into the metrics' inputs."""
        self._metrics = dict(metrics)
        for metric in self._metrics.values():
            metric.distributed_available_fn = _is_distributed
        self._adapt = adapt
        self._loss_sum = self._total_weight = 0.0
        self._num_samples = 0
        self._pending: list[PendingBatch] = []
        self._num_pending_values = 0
        self._gather: Gather | None = None

    @property
    def num_samples(self) -> int:
        """The number of samples in the phase so far."""
        return self._num_samples + sum(len(batch.target) for batch in self._pending)

    @property
    def metric_names(self) -> set[str]:
        """The names of the loss and of all metrics, both scalars and tables."""
        return {"loss", *self._metrics}

    def copy_with_gather(self, gather: Gather) -> Self:
        """Return a copy that gathers each batch from all ranks before adding it.

        `gather`: a function that takes this rank's part of a tensor and returns the whole tensor.
        """
        gathered = copy.copy(self)
        gathered._gather = gather
        return gathered

    def reset(self) -> None:
        """Clear the sums and the pending batches."""
        self._loss_sum, self._total_weight, self._num_samples = 0.0, 0.0, 0
        self._pending, self._num_pending_values = [], 0
        for metric in self._metrics.values():
            metric.reset()

    def update(self, pred: Tensor, target: Tensor, loss: Tensor, total_weight: Tensor | None = None) -> None:
        """Add a batch: raw scores (B, num_outputs), targets and the mean loss, all detached.

        `total_weight`: the weight of the batch in the phase's mean loss (default: the number of samples).
        """
        if self._gather is not None:
            pred, target = self._gather(pred), self._gather(target)
        self._pending.append(PendingBatch(pred, target, loss, total_weight))
        self._num_pending_values += pred.numel()
        if len(self._pending) >= MAX_PENDING_BATCHES or self._num_pending_values >= MAX_PENDING_VALUES:
            self._fold_pending()

    def _fold_pending(self) -> None:
        batches = self._pending
        self._num_samples = self.num_samples
        self._loss_sum, self._total_weight = self._sum_losses()
        self._pending, self._num_pending_values = [], 0
        if self._metrics:
            preds, targets = [batch.pred for batch in batches], [batch.target for batch in batches]
            scores, target = self._adapt(torch.cat(preds), torch.cat(targets))
            for metric in self._metrics.values():
                metric.update(scores, target)

    def _sum_losses(self) -> tuple[float, float]:
        """Return the sum of weighted losses and the sum of weights."""
        if not self._pending:
            return self._loss_sum, self._total_weight
        losses = torch.stack([batch.loss for batch in self._pending]).tolist()
        weights = self._stack_pending_weights().tolist()
        return (
            self._loss_sum + sum(loss * weight for loss, weight in zip(losses, weights, strict=True)),
            self._total_weight + sum(weights),
        )

    def _stack_pending_weights(self) -> Tensor:
        weights = [batch.total_weight for batch in self._pending if batch.total_weight is not None]
        return torch.stack(weights) if weights else torch.tensor([float(len(batch.target)) for batch in self._pending])

    def compute_mean_loss(self) -> float:
        """Return the mean loss of the phase so far, or NaN if the total weight is 0. This waits for the device."""
        loss_sum, total_weight = self._sum_losses()
        return loss_sum / total_weight if total_weight else float("nan")

    def compute_values(self) -> dict[str, float]:
        """Return the loss and every scalar metric. Call this at the end of the phase."""
        values = {"loss": self.compute_mean_loss()}
        if self._pending:
            self._fold_pending()
        for name, metric in self._metrics.items():
            value = metric.compute()
            if value.ndim == 0:
                values[name] = float(value)
        return values

    def compute_tables(self) -> dict[str, Any]:
        """Return every metric that is not a scalar, as nested lists. Call this after `compute_values`."""
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        return {name: value.tolist() for name, value in computed.items() if value.ndim > 0}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, and the pending batches as concatenated tensors with their sizes."""
        preds, targets, losses, _ = zip(*self._pending, strict=True) if self._pending else ((), (), (), ())
        weights = [batch.total_weight for batch in self._pending if batch.total_weight is not None]
        return {
            "loss_sum": self._loss_sum,
            "total_weight": self._total_weight,
            "num_samples": self._num_samples,
            "sizes": [len(target) for target in targets],
            "pending": [torch.cat(preds), torch.cat(targets), torch.stack(losses)] if preds else [],
            "pending_weights": [torch.stack(weights)] if weights else [],
            "metrics": {name: _clone_state(metric.metric_state) for name, metric in self._metrics.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self._loss_sum, self._total_weight, self._num_samples = (
            state_dict["loss_sum"],
            state_dict["total_weight"],
            state_dict["num_samples"],
        )
        self._pending = []
        if state_dict["pending"]:
            preds, targets, losses = state_dict["pending"]
            weights = (
                state_dict["pending_weights"][0].unbind()
                if state_dict["pending_weights"]
                else [None] * len(state_dict["sizes"])
            )
            split = preds.split(state_dict["sizes"]), targets.split(state_dict["sizes"]), losses.unbind(), weights
            self._pending = [PendingBatch(*batch) for batch in zip(*split, strict=True)]
        self._num_pending_values = sum(batch.pred.numel() for batch in self._pending)
        for name, metric in self._metrics.items():
            restore_metric(metric, state_dict["metrics"][name])


def restore_metric(metric: "Metric", saved: Mapping[str, Any]) -> None:
    """Restore the state of a metric from a snapshot."""
    for name, value in _clone_state(saved).items():
        setattr(metric, name, value)
    metric._update_count = 1  # otherwise torchmetrics warns that the metric was never updated
    metric._computed = None


def _clone_state(sums: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [item.clone() for item in value] if isinstance(value, list) else value.clone()
        for name, value in sums.items()
    }
