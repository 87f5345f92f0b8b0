"""From a loss in words to a module; it refuses what does not fit the dataset's task."""

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
import torch
from torch import nn

from core.datasets.packed import PackedMeta
from core.errors import InvalidSpec
from core.spec import losses
from worker.engine import losses as engine_losses


def make_loss(spec: losses.LossSpec, meta: PackedMeta, targets: np.ndarray[Any, Any]) -> nn.Module:
    """From (pred, target) to the mean over the batch; `targets` are those that are trained on."""
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
        case losses.BceWithLogitsSpec(pos_weight=weights):
            _require_numeric_targets(spec.name, meta)
            return nn.BCEWithLogitsLoss(pos_weight=engine_losses.build_positive_weights(weights, meta.num_outputs))
        case losses.BceSpec():
            _require_numeric_targets(spec.name, meta)
            return nn.BCEWithLogitsLoss()  # of the scores that `give_scores` makes of the network's probabilities
        case losses.SoftMarginSpec():
            _require_numeric_targets(spec.name, meta)
            return engine_losses.SoftMargin()
        case losses.MultiLabelSoftMarginSpec():
            _require_numeric_targets(spec.name, meta)
            return nn.MultiLabelSoftMarginLoss()
        case losses.MultiLabelMarginSpec():
            if meta.task != "multilabel":  # of a single label it is always 0
                raise InvalidSpec(f"loss {spec.name!r} needs several labels; the dataset's task is {meta.task}")
            return engine_losses.MultiLabelMargin()
        case losses.MseSpec():
            _require_numeric_targets(spec.name, meta)
            return nn.MSELoss()
        case losses.L1Spec():
            _require_numeric_targets(spec.name, meta)
            return nn.L1Loss()
        case losses.SmoothL1Spec(beta=beta):
            _require_numeric_targets(spec.name, meta)
            return nn.SmoothL1Loss(beta=beta)
        case losses.HuberSpec(delta=delta):
            _require_numeric_targets(spec.name, meta)
            return nn.HuberLoss(delta=delta)
        case losses.PoissonNllSpec(log_input=log_input, full=full, eps=eps):
            _require_numeric_targets(spec.name, meta)
            return nn.PoissonNLLLoss(log_input=log_input, full=full, eps=eps)
        case losses.KlDivSpec():
            _require_numeric_targets(spec.name, meta)
            return engine_losses.KLDivLoss()
        case _:
            assert_never(spec)


def _build_class_weights(
    name: str, requested: Sequence[float] | str | None, meta: PackedMeta, targets: np.ndarray[Any, Any]
) -> torch.Tensor | None:
    if meta.task != "classification":
        raise InvalidSpec(f"loss {name!r} needs one class a sample; the dataset's task is {meta.task}")
    return engine_losses.build_class_weights(requested, targets, meta.num_outputs)


def _require_numeric_targets(name: str, meta: PackedMeta) -> None:
    if meta.task == "classification":
        raise InvalidSpec(f"loss {name!r} needs numbers as targets; the dataset's task is {meta.task}")
