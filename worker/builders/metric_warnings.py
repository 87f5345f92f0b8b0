"""Finds metrics that leave out classes of a split, because the split has no samples with or without the class."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.datasets.packed import PackedMeta
from core.spec import metrics
from worker.engine.dataloader import ArrayDataLoader
from worker.engine.run import Run

MAX_NAMES = 10
_SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}


def find_metric_warnings(metric_specs: Sequence[metrics.MetricSpec], meta: PackedMeta, run: Run) -> Iterator[str]:
    """Yield a warning for each split and metric of a training run that leaves out classes."""
    loaders: dict[str, ArrayDataLoader | None] = {
        "train": run.train_batches,
        "valid": run.valid_batches,
        "test": run.test_batches,
    }
    for split, batches in loaders.items():
        selected = [spec for spec in metric_specs if spec.applies_to("train" if split == "train" else "valid")]
        selected = [spec for spec in selected if split != "train" or spec.is_curve]
        if batches is not None:
            yield from find_undefined_areas(selected, meta, split, batches.get_targets())


def find_undefined_areas(
    metric_specs: Sequence[metrics.MetricSpec], meta: PackedMeta, split: str, targets: Tensor
) -> Iterator[str]:
    """Yield a warning for each metric that leaves out classes of a split.

    Args:
        metric_specs: the metrics of the split.
        meta: the metadata of the dataset.
        split: the name of the split.
        targets: the targets of the split: classes (N,), or labels (N, num_outputs).
    """
    affected = [spec.key for spec in metric_specs if spec.requires_both_outcomes]
    if not affected:
        return
    positives = _count_positives(targets, meta)
    is_defined = (positives > 0) & (positives < len(targets))
    if bool(is_defined.all()):
        return
    for key in affected:
        if not bool(is_defined.any()):
            yield f"{key!r} is NaN on the {_SPLIT_NAMES[split]} split: no class has both samples with and without it."
        else:
            names = _list_names(meta, torch.nonzero(~is_defined).flatten().tolist())
            yield (
                f"{key!r} leaves out the classes that no sample, or every sample, of the {_SPLIT_NAMES[split]} split "
                f"has: {names}."
            )


def _count_positives(targets: Tensor, meta: PackedMeta) -> Tensor:
    """Return the number of samples that have each class or label, (num_outputs,)."""
    if meta.task == "classification":
        return torch.bincount(targets.flatten(), minlength=meta.num_outputs)
    return (targets.reshape(len(targets), -1) > 0).sum(dim=0)


def _list_names(meta: PackedMeta, positions: Sequence[int]) -> str:
    names = [repr(meta.classes[position]) if meta.classes else str(position) for position in positions]
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
