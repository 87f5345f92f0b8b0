"""Metrics of a job that do not fit it."""

import pytest

from core.datasets.packed import PackedDataset, Task
from core.errors import InvalidSpec
from tests.support.training import build_small_run


def test_unknown_monitor_is_rejected_and_lists_the_metrics(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(InvalidSpec, match="'valid_f1' is not a metric of this job; its metrics are valid_loss,"):
        build_small_run(datasets["classification"], callbacks=[{"name": "keep_best", "monitor": "valid_f1"}])


def test_top_k_above_the_number_of_classes_is_rejected(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(InvalidSpec, match="at least 4 classes"):
        build_small_run(datasets["classification"], metrics=[{"name": "top_k", "k": 4}])
