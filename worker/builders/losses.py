"""Builds losses, and rejects losses that are not compatible with the dataset's task."""

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
import torch
from torch import nn

from core.datasets.packed import PackedMeta
from core.errors import InvalidSpec
from core.spec import JobSpec, losses
from worker.builders.task_defaults import TASK_DEFAULTS
from worker.engine import losses as engine_losses
from worker.engine.losses import ScaledTargetLoss, TargetScaler

NumericLossSpec = (
    losses.BceWithLogitsSpec
    | losses.BceSpec
    | losses.SoftMarginSpec
    | losses.MultiLabelSoftMarginSpec
    | losses.MseSpec
    | losses.L1Spec
    | losses.SmoothL1Spec
    | losses.HuberSpec
    | losses.PoissonNllSpec
    | losses.KlDivSpec
)
DISTANCES = frozenset({"mse", "l1", "smooth_l1", "huber"})
"""Losses that measure a distance between predictions and targets. Their values depend on the scale of the targets."""


def build_job_loss(spec: JobSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    """Build the loss in the job spec, or the default loss of the dataset's task if the spec has none.

    For a regression on a table, a loss that measures a distance is computed with scaled targets.

    Raises:
        InvalidSpec: the loss is not compatible with the dataset's task.
    """
    loss = make_loss(spec.loss or TASK_DEFAULTS[meta.task][0], meta, targets)
    scale = build_target_scaler(spec, meta)
    return loss if scale is None else ScaledTargetLoss(loss, scale)


def build_target_scaler(spec: JobSpec, meta: PackedMeta) -> TargetScaler | None:
    """Return the object that scales the targets of a table to mean 0 and standard deviation 1.

    Return None if the job is not a regression on a table or if its loss does not measure a distance.
    """
    loss = spec.loss or TASK_DEFAULTS[meta.task][0]
    if meta.task != "regression" or meta.table is None or loss.name not in DISTANCES:
        return None
    return TargetScaler(meta.target_mean, meta.target_std)


def make_loss(spec: losses.LossSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    """Build a loss module, which maps predictions and targets to the mean loss of the batch.

    Args:
        spec: the spec of the loss.
        meta: the metadata of the dataset.
        targets: the targets of the training split, from which balanced class weights are computed.

    Raises:
        InvalidSpec: the loss is not compatible with the dataset's task.
    """
    match spec:
        case losses.CrossEntropySpec(class_weights=weights, label_smoothing=smoothing):
            return engine_losses.build_cross_entropy(_build_class_weights(spec.name, weights, meta, targets), smoothing)
        case losses.NllSpec(class_weights=weights):
            return engine_losses.build_nll(_build_class_weights(spec.name, weights, meta, targets))
        case losses.FocalSpec(class_weights=weights, gamma=gamma):
            return engine_losses.Focal(gamma, _build_class_weights(spec.name, weights, meta, targets))
        case losses.MultiMarginSpec(class_weights=weights, p=p, margin=margin):
            return nn.MultiMarginLoss(
                p=p, margin=margin, weight=_build_class_weights(spec.name, weights, meta, targets)
            )
        case losses.MultiLabelMarginSpec():
            if meta.task != "multilabel":  # with a single label per sample, this loss is always 0
                raise InvalidSpec(
                    f"loss {spec.name!r} requires several labels per sample; the dataset's task is {meta.task}"
                )
            return engine_losses.MultiLabelMargin()
        case _:
            if meta.task == "classification":
                raise InvalidSpec(f"loss {spec.name!r} requires numbers as targets; the dataset's task is {meta.task}")
            return _make_numeric_loss(spec, meta.num_outputs)


def _make_numeric_loss(spec: NumericLossSpec, num_outputs: int) -> nn.Module:
    """Build a loss whose target is one number per output."""
    match spec:
        case losses.BceWithLogitsSpec(pos_weight=weights):
            return nn.BCEWithLogitsLoss(pos_weight=engine_losses.build_positive_weights(weights, num_outputs))
        case losses.BceSpec():
            return nn.BCEWithLogitsLoss()  # not BCELoss, because `to_logits` makes the network return logits
        case losses.SoftMarginSpec():
            return engine_losses.SoftMargin()
        case losses.MultiLabelSoftMarginSpec():
            return nn.MultiLabelSoftMarginLoss()
        case losses.MseSpec():
            return nn.MSELoss()
        case losses.L1Spec():
            return nn.L1Loss()
        case losses.SmoothL1Spec(beta=beta):
            return nn.SmoothL1Loss(beta=beta)
        case losses.HuberSpec(delta=delta):
            return nn.HuberLoss(delta=delta)
        case losses.PoissonNllSpec(log_input=log_input, full=full, eps=eps):
            return nn.PoissonNLLLoss(log_input=log_input, full=full, eps=eps)
        case losses.KlDivSpec():
            return engine_losses.KLDivLoss()
        case _:
            assert_never(spec)


def _build_class_weights(
    name: str, requested: Sequence[float] | str | None, meta: PackedMeta, targets: np.ndarray[Any, Any]
) -> torch.Tensor | None:
    if meta.task != "classification":
        raise InvalidSpec(f"loss {name!r} requires one class per sample; the dataset's task is {meta.task}")
    return engine_losses.build_class_weights(requested, targets, meta.num_outputs)
