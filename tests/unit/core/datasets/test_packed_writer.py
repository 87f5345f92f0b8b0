"""Writing packed image datasets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.packed import PackedDataset
from core.datasets.packed_writer import PackedWriter
from tests.support.datasets import IMAGES, TARGETS, write_packed


def test_mean_and_deviation_are_those_of_the_training_split(tmp_path: Path) -> None:
    meta = write_packed(tmp_path / "a")
    np.testing.assert_allclose(meta.mean, IMAGES.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(meta.std, IMAGES.std(axis=(0, 1, 2)) / 255, rtol=1e-9)


def test_a_constant_channel_has_a_deviation_of_one(tmp_path: Path) -> None:
    assert write_packed(tmp_path / "a", images=np.full_like(IMAGES, 7)).std == (1.0, 1.0, 1.0)


def test_the_hash_does_not_depend_on_folder_or_chunks(tmp_path: Path) -> None:
    assert write_packed(tmp_path / "a").content_hash == write_packed(tmp_path / "b", chunk=3).content_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.flip(IMAGES, 0)},
        {"targets": TARGETS[::-1]},
        {"classes": "abd"},
        {"images": IMAGES.reshape(10, 5, 4, 3), "image_shape": (3, 5, 4)},
    ],
    ids=["images", "targets", "classes", "shape"],
)
def test_the_hash_depends_on_content(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert write_packed(tmp_path / "a").content_hash != write_packed(tmp_path / "b", **changes).content_hash


def test_other_tasks_have_float_targets(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 20).reshape(10, 2)
    write_packed(tmp_path / "a", task="regression", classes="ab", num_outputs=2, targets=values)
    targets = PackedDataset.open(tmp_path / "a").read_split("train").targets
    assert (targets.dtype.name, targets.shape) == ("float32", (10, 2))


def test_a_dataset_without_training_images_is_rejected(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "a", task="classification", classes="ab", num_outputs=2, image_shape=(3, 4, 5))
    writer.append_chunk("valid", IMAGES, TARGETS, [""] * 10)
    with pytest.raises(ValueError, match="train"):
        writer.finish_dataset()
    writer.close_files()


@pytest.mark.parametrize(
    ("images", "targets"), [(IMAGES[:, :3], TARGETS), (IMAGES.astype(float), TARGETS), (IMAGES, TARGETS[1:])]
)
def test_mismatched_arrays_are_rejected(tmp_path: Path, images: Any, targets: Any) -> None:
    writer = PackedWriter(tmp_path / "a", task="classification", classes="abc", num_outputs=3, image_shape=(3, 4, 5))
    with pytest.raises(ValueError, match=r"must be uint8|targets"):
        writer.append_chunk("train", images, targets, [""] * 10)
