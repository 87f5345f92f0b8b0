"""The synthetic images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.datasets import builtin
from core.datasets.ingest.builtin import pack_builtin
from core.datasets.packed import PackedDataset


@pytest.mark.parametrize(
    "options",
    [
        {"image_shape": [3, 64, 64], "num_classes": 200, "num_samples": 400},
        {"task": "regression", "num_classes": 2},
        {"task": "binary"},
        {"task": "multilabel", "image_shape": [1, 5, 7]},
        {"image_shape": [7, 1, 1], "num_samples": 10},
    ],
)
def test_synthetic_images_match_the_info_and_are_reproducible(options: dict[str, Any], tmp_path: Path) -> None:
    dataset_info = builtin.get_dataset("synthetic").get_info(options)
    meta, _ = pack_builtin("synthetic", options, tmp_path, tmp_path / "a")
    again, _ = pack_builtin("synthetic", options, tmp_path, tmp_path / "b")
    other, _ = pack_builtin("synthetic", options | {"seed": 1}, tmp_path, tmp_path / "c")
    assert (meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, None, None) == dataset_info
    assert meta.content_hash == again.content_hash != other.content_hash


def test_synthetic_classes_can_be_learned(tmp_path: Path) -> None:
    pack_builtin("synthetic", {"num_classes": 20, "num_samples": 400}, tmp_path, tmp_path / "out")
    train = PackedDataset.open(tmp_path / "out").read_split("train")
    flat = train.images.reshape(400, -1).astype(float)
    means = np.stack([flat[:200][train.targets[:200] == label].mean(axis=0) for label in range(20)])
    nearest = np.linalg.norm(flat[200:, None] - means, axis=2).argmin(axis=1)
    assert (nearest == train.targets[200:]).mean() > 0.95


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 1},
        {"num_classes": 11, "num_samples": 10},
        {"task": "binary", "num_classes": 3},
        {"image_shape": [3, 0, 4]},
        {"num_samples": True},
        {"image_shape": [16, 4096, 4096], "num_samples": 100},
        {"colour": "red"},
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        builtin.get_dataset("synthetic").parse_options(options)
