"""Losses that do not fit the dataset."""

import pytest

from core.datasets.packed import PackedDataset, Task
from tests.support.training import build_small_run, train_small_run


def test_class_weights_must_fit_the_classes(datasets: dict[Task, PackedDataset]) -> None:
    with pytest.raises(Exception, match="class_weights has 2 values; the dataset has 3"):
        build_small_run(datasets["classification"], loss={"name": "cross_entropy", "class_weights": [1.0, 2.0]})
    train_small_run(datasets["classification"], loss={"name": "cross_entropy", "class_weights": "balanced"})
