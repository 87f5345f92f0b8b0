"""Loss modules: `forward(pred, target)` returns a scalar, the mean over the batch."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from worker.engine.callback import TrainingError


class InvalidClassWeights(TrainingError, ValueError):
    """The number of weights does not match the classes or outputs, or all weights are 0."""


def build_cross_entropy(weights: Tensor | None, label_smoothing: float) -> nn.Module:
    """Build the cross entropy of logits (B, C) and classes (B,). Class weights are used as in torch."""
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=label_smoothing)


def build_nll(weights: Tensor | None) -> nn.Module:
    """Build the negative log-likelihood of log probabilities (B, C) and classes (B,)."""
    return nn.NLLLoss(weight=weights)


class Focal(nn.Module):
    """Focal loss: the cross entropy of logits (B, C) and classes (B,), multiplied by (1 - p)^gamma.

    p is the probability of the true class. The mean over the samples is weighted by the class weights.
    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 5.
    """

    weight: Tensor | None

    def __init__(self, gamma: float, weight: Tensor | None = None) -> None:
        super().__init__()
        self.gamma, self.reduction = gamma, "mean"
        self.register_buffer("weight", weight)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        log_p = pred.log_softmax(1).gather(1, target[:, None]).squeeze(1)
        losses = -((1 - log_p.exp()) ** self.gamma) * log_p
        weights = None if self.weight is None else self.weight[target]
        if weights is not None:
            losses = losses * weights
        if self.reduction == "none":
            return losses
        return losses.mean() if weights is None else losses.sum() / weights.sum()


class SoftMargin(nn.Module):
    """The logistic loss of logits (B, C) and labels 0 or 1, (B, C), averaged over samples and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.soft_margin_loss(pred, 2 * target - 1, reduction=self.reduction)


class MultiLabelMargin(nn.Module):
    """A margin loss of logits (B, C) and labels 0 or 1, (B, C). torch's version requires label indices instead."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        present, indices = target.sort(dim=1, descending=True, stable=True)
        listed = torch.where(present > 0, indices, -1)
        return nn.functional.multilabel_margin_loss(pred, listed, reduction=self.reduction)


class KLDivLoss(nn.Module):
    """The Kullback-Leibler divergence of each sample, from log probabilities (B, C) and distributions (B, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        losses = nn.functional.kl_div(pred, target, reduction="none").sum(1)
        return losses if self.reduction == "none" else losses.mean()


class UnreducedLoss(nn.Module):
    """Computes the loss of each sample, (B,), with a loss module that returns the mean by default."""

    def __init__(self, loss: nn.Module) -> None:
        """`loss` must return unreduced losses if its `reduction` is "none"."""
        super().__init__()
        self._loss = copy.deepcopy(loss)
        self._loss.reduction = "none"  # type: ignore[assignment]  # every torch loss has this attribute

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        losses: Tensor = self._loss(pred, target)
        return losses if losses.ndim == 1 else losses.flatten(1).mean(1)


class TargetScaler(NamedTuple):
    """Mean and standard deviation of each output's targets. Networks are trained on standardized targets."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_tensors(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation as float32 tensors, (num_outputs,) each."""
        return torch.tensor(self.mean, device=device), torch.tensor(self.std, device=device)

    def build_adapter(self, device: torch.device) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return a function that converts predictions to the original units and returns them with the targets."""
        mean, std = self.to_tensors(device)
        return lambda pred, target: (pred * std + mean, target)


class ScaledTargetLoss(nn.Module):
    """Standardizes the targets, then computes the wrapped loss."""

    mean: Tensor
    std: Tensor

    def __init__(self, loss: nn.Module, scale: TargetScaler, *, is_measured: bool = False) -> None:
        """`is_measured`: whether predictions are in the original units and must also be standardized."""
        super().__init__()
        mean, std = scale.to_tensors()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self._loss, self._is_measured = loss, is_measured

    @property
    def reduction(self) -> str:
        """The reduction of the wrapped loss: `mean`, or `none` for one loss per sample."""
        return str(self._loss.reduction)

    @reduction.setter
    def reduction(self, reduction: str) -> None:
        """Set the reduction of the wrapped loss."""
        self._loss.reduction = reduction  # type: ignore[assignment]  # every torch loss has this attribute

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of predictions and targets, (B, num_outputs) each."""
        pred = (pred - self.mean) / self.std if self._is_measured else pred
        loss: Tensor = self._loss(pred, (target - self.mean) / self.std)
        return loss


def build_class_weights(
    requested: Sequence[float] | str | None, targets: np.ndarray[tuple[int], np.dtype[np.int64]], num_classes: int
) -> Tensor | None:
    """Return one weight per class, or None if no weights are requested.

    "balanced" sets n / (C * n_c) as in scikit-learn: n samples, C classes, n_c samples of class c. The weight of a
    class without samples is 0.

    Raises:
        InvalidClassWeights: the number of weights differs from the number of classes, or all are 0.
    """
    if requested is None:
        return None
    if isinstance(requested, str):
        counts = np.bincount(targets, minlength=num_classes)
        balanced = np.where(counts > 0, len(targets) / (num_classes * np.maximum(counts, 1)), 0.0)
        return torch.tensor(balanced, dtype=torch.float32)
    return _parse_weights(requested, num_classes, "class_weights")


def build_positive_weights(requested: Sequence[float] | None, num_outputs: int) -> Tensor | None:
    """Return one weight per output, for the loss of its positive targets."""
    return None if requested is None else _parse_weights(requested, num_outputs, "pos_weight")


def _parse_weights(weights: Sequence[float], num_outputs: int, name: str) -> Tensor:
    if len(weights) != num_outputs:
        raise InvalidClassWeights(f"{name} has {len(weights)} values; the dataset has {num_outputs} outputs")
    if not any(weights):
        raise InvalidClassWeights(f"{name} are all 0; at least one must be above 0")
    return torch.tensor(weights, dtype=torch.float32)
