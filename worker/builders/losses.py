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
        case losses.CrossEntropySpec(class_weights=wish, label_smoothing=smoothing):
            return engine_losses.cross_entropy(_class_weights(spec.name, wish, meta, targets), smoothing)
        case losses.NllSpec(class_weights=wish):
            return engine_losses.nll(_class_weights(spec.name, wish, meta, targets))
        case losses.FocalSpec(class_weights=wish, gamma=gamma):
            return engine_losses.Focal(gamma, _class_weights(spec.name, wish, meta, targets))
        case losses.MultiMarginSpec(class_weights=wish, p=p, margin=margin):
            return nn.MultiMarginLoss(p=p, margin=margin, weight=_class_weights(spec.name, wish, meta, targets))
        case losses.BceWithLogitsSpec(pos_weight=wish):
            _need_numbers(spec.name, meta)
            return nn.BCEWithLogitsLoss(pos_weight=engine_losses.positive_weights(wish, meta.num_outputs))
        case losses.BceSpec():
            _need_numbers(spec.name, meta)
            return nn.BCEWithLogitsLoss()  # of the scores that `give_scores` makes of the network's probabilities
        case losses.SoftMarginSpec():
            _need_numbers(spec.name, meta)
            return engine_losses.SoftMargin()
        case losses.MultiLabelSoftMarginSpec():
            _need_numbers(spec.name, meta)
            return nn.MultiLabelSoftMarginLoss()
        case losses.MultiLabelMarginSpec():
            if meta.task != "multilabel":  # of a single label it is always 0
                raise InvalidSpec(f"loss {spec.name!r} needs several labels; the dataset's task is {meta.task}")
            return engine_losses.MultiLabelMargin()
        case losses.MseSpec():
            _need_numbers(spec.name, meta)
            return nn.MSELoss()
        case losses.L1Spec():
            _need_numbers(spec.name, meta)
            return nn.L1Loss()
        case losses.SmoothL1Spec(beta=beta):
            _need_numbers(spec.name, meta)
            return nn.SmoothL1Loss(beta=beta)
        case losses.HuberSpec(delta=delta):
            _need_numbers(spec.name, meta)
            return nn.HuberLoss(delta=delta)
        case losses.PoissonNllSpec(log_input=log_input, full=full, eps=eps):
            _need_numbers(spec.name, meta)
            return nn.PoissonNLLLoss(log_input=log_input, full=full, eps=eps)
        case losses.KlDivSpec():
            _need_numbers(spec.name, meta)
            return engine_losses.KLDivLoss()
        case _:
            assert_never(spec)


def _class_weights(
    name: str, wish: Sequence[float] | str | None, meta: PackedMeta, targets: np.ndarray[Any, Any]
) -> torch.Tensor | None:
    if meta.task != "classification":
        raise InvalidSpec(f"loss {name!r} needs one class a sample; the dataset's task is {meta.task}")
    return engine_losses.class_weights(wish, targets, meta.num_outputs)


def _need_numbers(name: str, meta: PackedMeta) -> None:
    if meta.task == "classification":
        raise InvalidSpec(f"loss {name!r} needs numbers as targets; the dataset's task is {meta.task}")
