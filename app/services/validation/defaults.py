"""Defaults of job specs: the loss and metrics of each task, and generated job names."""

import secrets
from typing import NamedTuple

from core.spec import AnyJobSpec, RegisterSpec
from core.spec.job import TrainingSpec
from core.spec.losses import BceWithLogitsSpec, CrossEntropySpec, LossSpec, MseSpec, list_compatible_losses
from core.spec.metrics import AccuracySpec, MaeSpec, MetricSpec


class TaskDefaults(NamedTuple):
    """The default loss and metrics of a task, and all losses and metrics that are compatible with the task."""

    loss: LossSpec
    metrics: tuple[MetricSpec, ...]
    losses: frozenset[str]
    all_metrics: frozenset[str]


_COUNTED = frozenset({"accuracy", "precision", "recall", "f1", "auroc"})
TASK_DEFAULTS = {
    "classification": TaskDefaults(
        CrossEntropySpec(), (AccuracySpec(),), list_compatible_losses("class"), _COUNTED | {"top_k", "confusion_matrix"}
    ),
    "binary": TaskDefaults(
        BceWithLogitsSpec(),
        (AccuracySpec(),),
        list_compatible_losses("labels") - {"multilabel_margin"},  # this loss is always 0 for a single label
        _COUNTED | {"confusion_matrix"},
    ),
    "multilabel": TaskDefaults(BceWithLogitsSpec(), (AccuracySpec(),), list_compatible_losses("labels"), _COUNTED),
    "regression": TaskDefaults(
        MseSpec(), (MaeSpec(),), list_compatible_losses("numbers"), frozenset({"mae", "mse", "rmse", "r2"})
    ),
}


def generate_name(spec: AnyJobSpec) -> str:
    """Return a new job name, for example `convnet-digits-3f2a` or `evaluate-digits-3f2a`."""
    if isinstance(spec, TrainingSpec):
        return f"{spec.architecture.name[:28]}-{spec.dataset.name[:28]}-{secrets.token_hex(2)}"
    if isinstance(spec, RegisterSpec):
        return f"register-{spec.architecture.name[:40]}-{secrets.token_hex(2)}"
    return f"{spec.kind}-{spec.model.partition('@')[0][:40]}-{secrets.token_hex(2)}"
