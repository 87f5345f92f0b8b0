"""Reading packed image datasets."""

from pathlib import Path

import numpy as np
import pytest

from core.datasets.packed import PackedDataset, PackedMeta, list_file_names
from core.errors import CorruptFile
from core.resizing import ResizePolicy
from tests.support.datasets import IMAGES, TARGETS, write_packed


def test_written_arrays_are_memory_mapped(tmp_path: Path) -> None:
    meta = write_packed(tmp_path / "a")
    packed = PackedDataset.open(tmp_path / "a")
    train = packed.read_split("train")
    assert packed.meta == meta
    assert isinstance(train.images, np.memmap)
    assert not train.images.flags.writeable
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(train.targets, TARGETS)
    assert train.targets.dtype == np.int64
    assert train.names == [str(i) for i in range(10)]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(list_file_names(meta))


def test_metadata_of_earlier_versions_has_the_default_resizing(tmp_path: Path) -> None:
    policy = ResizePolicy("pad", pad_color=(1, 2, 3), interpolation="bicubic")
    meta = write_packed(tmp_path / "a").model_copy(update=policy.to_dict())
    assert PackedMeta.model_validate_json(meta.model_dump_json()).resize_policy == policy
    added = ("resize_shorter_side", "pad_color", "interpolation")
    old = {name: value for name, value in meta.model_dump(mode="json").items() if name not in added}
    assert PackedMeta.model_validate(old | {"resize": "crop"}).resize_policy == ResizePolicy("crop")


def test_an_unfinished_or_damaged_folder_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path)
    write_packed(tmp_path / "a")
    images = tmp_path / "a" / "train_images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path / "a").read_split("train")


def test_pickled_targets_are_rejected(tmp_path: Path) -> None:
    write_packed(tmp_path / "a")
    (tmp_path / "a" / "train_targets.npy").unlink()
    np.save(tmp_path / "a" / "train_targets.npy", np.array([{}] * 10, object), allow_pickle=True)
    with pytest.raises(CorruptFile):
        PackedDataset.open(tmp_path / "a").read_split("train")
