"""What is packed comes back, and equal content has an equal hash."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.packed import PackedDataset, PackedMeta, list_file_names
from core.datasets.packed_writer import PackedWriter
from core.errors import CorruptFile

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3)).astype(np.uint8)
TARGETS = np.arange(10) % 3


def written(folder: Path, *, chunk: int = 4, **changes: Any) -> PackedMeta:
    head: dict[str, Any] = {"task": "classification", "classes": "abc", "num_outputs": 3, "image_shape": (3, 4, 5)}
    images, targets = changes.pop("images", IMAGES), changes.pop("targets", TARGETS)
    writer = PackedWriter(folder, **head | changes)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        names = [str(i) for i in range(start, min(start + chunk, len(images)))]
        writer.append_chunk("train", images[part], targets[part], names)
    return writer.finish_dataset()


def test_what_was_written_is_read_and_mapped(tmp_path: Path) -> None:
    meta = written(tmp_path / "a")
    packed = PackedDataset.open(tmp_path / "a")
    train = packed.read_split("train")
    assert packed.meta == meta
    assert isinstance(train.images, np.memmap)
    assert not train.images.flags.writeable
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.targets, TARGETS)
    assert train.targets.dtype == np.int64
    assert train.names == [str(i) for i in range(10)]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(list_file_names(meta.splits))


def test_mean_and_deviation_are_those_of_train(tmp_path: Path) -> None:
    meta = written(tmp_path / "a")
    np.testing.assert_allclose(meta.mean, IMAGES.mean(axis=(0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(meta.std, IMAGES.std(axis=(0, 1, 2)) / 255, rtol=1e-9)


def test_a_channel_that_never_varies_has_a_deviation_of_one(tmp_path: Path) -> None:
    assert written(tmp_path / "a", images=np.full_like(IMAGES, 7)).std == (1.0, 1.0, 1.0)


def test_the_hash_does_not_depend_on_time_place_or_chunks(tmp_path: Path) -> None:
    assert written(tmp_path / "a").content_hash == written(tmp_path / "b", chunk=3).content_hash


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
    assert written(tmp_path / "a").content_hash != written(tmp_path / "b", **changes).content_hash


def test_other_tasks_have_float_targets(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 20).reshape(10, 2)
    written(tmp_path / "a", task="regression", classes="ab", num_outputs=2, targets=values)
    targets = PackedDataset.open(tmp_path / "a").read_split("train").targets
    assert (targets.dtype.name, targets.shape) == ("float32", (10, 2))


def test_a_dataset_without_train_is_refused(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path / "a", task="classification", classes="ab", num_outputs=2, image_shape=(3, 4, 5))
    writer.append_chunk("valid", IMAGES, TARGETS, [""] * 10)
    with pytest.raises(ValueError, match="train"):
        writer.finish_dataset()
    writer.close_files()


@pytest.mark.parametrize(
    ("images", "targets"), [(IMAGES[:, :3], TARGETS), (IMAGES.astype(float), TARGETS), (IMAGES, TARGETS[1:])]
)
def test_what_does_not_fit_is_refused(tmp_path: Path, images: Any, targets: Any) -> None:
    writer = PackedWriter(tmp_path / "a", task="classification", classes="abc", num_outputs=3, image_shape=(3, 4, 5))
    with pytest.raises(ValueError, match=r"must be uint8|targets"):
        writer.append_chunk("train", images, targets, [""] * 10)


def test_an_unfinished_or_damaged_folder_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path)
    written(tmp_path / "a")
    images = tmp_path / "a" / "train_images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path / "a").read_split("train")


def test_a_pickle_in_place_of_targets_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a")
    (tmp_path / "a" / "train_targets.npy").unlink()
    np.save(tmp_path / "a" / "train_targets.npy", np.array([{}] * 10, object), allow_pickle=True)
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path / "a").read_split("train")
