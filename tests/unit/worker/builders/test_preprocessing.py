"""Normalization of a job."""

import pytest

from core.datasets.packed import PackedDataset, Task
from core.errors import InvalidSpec
from tests.support.training import build_small_run


def test_normalize_must_have_one_value_per_channel(datasets: dict[Task, PackedDataset]) -> None:
    normalize = {"name": "normalize", "mean": [0.5, 0.5], "std": [0.2, 0.2]}
    with pytest.raises(InvalidSpec, match="normalize: mean and std must have 1 values"):
        build_small_run(datasets["classification"], dataset={"name": "synthetic", "train_transforms": [normalize]})
