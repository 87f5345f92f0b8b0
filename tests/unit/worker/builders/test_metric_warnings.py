"""Warnings about metrics that leave out classes."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from core.datasets.packed import PackedDataset, PackedMeta, Task
from core.spec.metrics import MetricSpec
from tests.support.training import build_small_run
from worker.builders.metric_warnings import find_metric_warnings, find_undefined_areas

SPECS: TypeAdapter[Any] = TypeAdapter(list[MetricSpec])


def find_warnings(meta: PackedMeta, targets: list[Any], *metrics: Any) -> list[str]:
    specs = SPECS.validate_python(list(metrics))
    return list(find_undefined_areas(specs, meta, "valid", torch.tensor(targets)))


def describe(datasets: dict[Task, PackedDataset], task: Task, **changes: Any) -> PackedMeta:
    return datasets[task].meta.model_copy(update=changes)


def test_absent_class_is_named(datasets: dict[Task, PackedDataset]) -> None:
    meta = describe(datasets, "classification", classes=("a", "b", "c"), num_outputs=3)
    warnings = find_warnings(meta, [0, 1, 1], "auroc", "accuracy")
    assert warnings == [
        "'auroc' leaves out the classes that no sample, or every sample, of the validation split has: 'c'."
    ]
    assert find_warnings(meta, [0, 1, 2], "auroc") == []
    assert find_warnings(meta, [0, 1, 1], {"name": "auroc", "average": "micro"}, "f1") == []


def test_single_class_makes_the_metric_nan(datasets: dict[Task, PackedDataset]) -> None:
    expected = ["'auroc' is NaN on the validation split: no class has both samples with and without it."]
    assert find_warnings(describe(datasets, "classification"), [1, 1], "auroc") == expected
    assert find_warnings(describe(datasets, "binary"), [[1.0], [1.0]], "auroc") == expected


def test_label_of_every_sample_is_named(datasets: dict[Task, PackedDataset]) -> None:
    meta = describe(datasets, "multilabel", classes=("x", "y", "z"), num_outputs=3)
    (warning,) = find_warnings(meta, [[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]], {"name": "auroc", "average": "weighted"})
    assert warning.endswith("has: 'x', 'y'.")


def test_many_names_are_cut(datasets: dict[Task, PackedDataset]) -> None:
    meta = describe(datasets, "classification", classes=tuple(f"c{i}" for i in range(15)), num_outputs=15)
    (warning,) = find_warnings(meta, [0, 1], "auroc")
    assert warning.endswith("'c11' and 3 more.")


@pytest.mark.parametrize("on", ["both", "train", "valid"])
def test_run_checks_the_splits_of_the_metric(datasets: dict[Task, PackedDataset], on: str) -> None:
    metrics = [{"name": "auroc", "on": on}]
    run = build_small_run(datasets["classification"], metrics=metrics)
    for loader in (run.train_batches, run.valid_batches):
        assert loader is not None
        loader._targets = torch.zeros_like(loader._targets)
    warnings = list(find_metric_warnings(SPECS.validate_python(metrics), datasets["classification"].meta, run))
    assert len(warnings) == (2 if on == "both" else 1)
    assert all(("training split" in warning) != ("validation split" in warning) for warning in warnings)
