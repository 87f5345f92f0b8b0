"""The running sums of a phase: the loss, by samples or their weights, and metrics; the step never waits for them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

MAX_PENDING_BATCHES = 32
MAX_PENDING_VALUES = 2**20


def _alone() -> bool:
    """What torchmetrics asks before it sums over processes: these hand over whole batches, see `ranks.Gathered`."""
    return False


class PendingBatch(NamedTuple):
    """A batch that is not folded into the sums yet."""

    pred: Tensor
    target: Tensor
    loss: Tensor
    mass: Tensor | None


class MetricAccumulator:
    """Collects what steps hand over and folds it into sums, a group of batches at a time.

    Groups end at fixed places (every so many batches of the phase), so that sums do not depend on when somebody
    looked, and what is pending belongs to the snapshot.
    """

    def __init__(self, metrics: Mapping[str, Metric], adapt: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        """`adapt` turns raw scores (N, num_outputs) and targets into what the metrics take."""
        self._metrics = dict(metrics)
        for metric in self._metrics.values():
            metric.distributed_available_fn = _alone
        self._adapt = adapt
        self._loss_sum = self._mass = 0.0
        self._num_samples = 0
        self._pending: list[PendingBatch] = []
        self._num_pending_values = 0

    @property
    def num_samples(self) -> int:
        """Of the phase so far."""
        return self._num_samples + sum(len(taken.target) for taken in self._pending)

    @property
    def names(self) -> set[str]:
        """Of all metrics, the loss among them, be they numbers or tables."""
        return {"loss", *self._metrics}

    def reset(self) -> None:
        self._loss_sum, self._mass, self._num_samples = 0.0, 0.0, 0
        self._pending, self._num_pending_values = [], 0
        for metric in self._metrics.values():
            metric.reset()

    def update(self, pred: Tensor, target: Tensor, loss: Tensor, mass: Tensor | None = None) -> None:
        """Take a batch: raw scores (B, num_outputs), targets, and the mean loss, all detached.

        `mass`: by how much that mean counts; its number of samples unless given.
        """
        self._pending.append(PendingBatch(pred, target, loss, mass))
        self._num_pending_values += pred.numel()
        if len(self._pending) >= MAX_PENDING_BATCHES or self._num_pending_values >= MAX_PENDING_VALUES:
            self._fold()

    def _fold(self) -> None:
        taken = self._pending
        self._num_samples = self.num_samples
        self._loss_sum, self._mass = self._with_pending()
        self._pending, self._num_pending_values = [], 0
        if self._metrics:
            preds, targets = [one.pred for one in taken], [one.target for one in taken]
            scores, target = self._adapt(torch.cat(preds), torch.cat(targets))
            for metric in self._metrics.values():
                metric.update(scores, target)

    def _with_pending(self) -> tuple[float, float]:
        """The sum of losses by mass, and that of masses."""
        if not self._pending:
            return self._loss_sum, self._mass
        losses = torch.stack([one.loss for one in self._pending]).tolist()
        masses = self._pending_masses().tolist()
        return (
            self._loss_sum + sum(loss * mass for loss, mass in zip(losses, masses, strict=True)),
            self._mass + sum(masses),
        )

    def _pending_masses(self) -> Tensor:
        given = [one.mass for one in self._pending if one.mass is not None]
        return torch.stack(given) if given else torch.tensor([float(len(one.target)) for one in self._pending])

    def mean_loss(self) -> float:
        """Of the phase so far; NaN before its first batch, or while nothing counts. Waits for the device."""
        loss_sum, mass = self._with_pending()
        return loss_sum / mass if mass else float("nan")

    def values(self) -> dict[str, float]:
        """The loss and every metric that is a number; to be called when the phase is over."""
        values = {"loss": self.mean_loss()}
        if self._pending:
            self._fold()
        for name, metric in self._metrics.items():
            value = metric.compute()
            if value.ndim == 0:
                values[name] = float(value)
        return values

    def tables(self) -> dict[str, Any]:
        """Every metric that is no number, as nested lists; after `values`."""
        computed = {name: metric.compute() for name, metric in self._metrics.items()}
        return {name: value.tolist() for name, value in computed.items() if value.ndim > 0}

    def state_dict(self) -> dict[str, Any]:
        """Sums, and what is pending, as tensors of all pending batches and their sizes."""
        preds, targets, losses, _ = zip(*self._pending, strict=True) if self._pending else ((), (), (), ())
        masses = [one.mass for one in self._pending if one.mass is not None]
        return {
            "loss_sum": self._loss_sum,
            "mass": self._mass,
            "num_samples": self._num_samples,
            "sizes": [len(target) for target in targets],
            "pending": [torch.cat(preds), torch.cat(targets), torch.stack(losses)] if preds else [],
            "pending_masses": [torch.stack(masses)] if masses else [],
            "metrics": {name: _copied(metric.metric_state) for name, metric in self._metrics.items()},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._loss_sum, self._mass, self._num_samples = saved["loss_sum"], saved["mass"], saved["num_samples"]
        self._pending = []
        if saved["pending"]:
            preds, targets, losses = saved["pending"]
            masses = saved["pending_masses"][0].unbind() if saved["pending_masses"] else [None] * len(saved["sizes"])
            split = preds.split(saved["sizes"]), targets.split(saved["sizes"]), losses.unbind(), masses
            self._pending = [PendingBatch(*one) for one in zip(*split, strict=True)]
        self._num_pending_values = sum(one.pred.numel() for one in self._pending)
        for name, metric in self._metrics.items():
            restore(metric, saved["metrics"][name])


def restore(metric: Metric, saved: Mapping[str, Any]) -> None:
    """Give a metric its sums back."""
    for name, value in _copied(saved).items():
        setattr(metric, name, value)
    metric._update_count = 1  # else it believes it was never updated, and warns
    metric._computed = None


def _copied(sums: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [item.clone() for item in value] if isinstance(value, list) else value.clone()
        for name, value in sums.items()
    }
