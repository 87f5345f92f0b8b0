"""The packed files of an edit: pixels, targets, weights, tables, and rejected results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets.archives.limits import UploadLimits
from core.datasets.edits.operations import parse_operations
from core.datasets.edits.writer import pack_edit
from core.datasets.ingest.table import pack_table
from core.datasets.packed import PackedDataset
from core.errors import InvalidSpec
from tests.support.packed_splits import Sample, build_pixels, write_splits

TRAIN: list[Sample] = [("a/1", 0, 1), ("a/2", 0, 2), ("b/1", 1, 3), ("b/2", 1, 4), ("c/1", 2, 5)]
TEST: list[Sample] = [("t/1", 0, 6), ("t/2", 1, 7)]
CSV = "size,home,kind\n1,town,cat\n2,farm,dog\n1,town,cat\n3,town,dog\n4,,dog\n"


def pack(tmp_path: Path, *operations: dict[str, Any]) -> tuple[PackedDataset, dict[str, Any]]:
    """Edit the dataset in the folder `base`. Return the new dataset and its report."""
    _, report = pack_edit(tmp_path / "base", tmp_path / "out", parse_operations(operations))
    return PackedDataset.open(tmp_path / "out"), report


def test_pixels_targets_and_weights_follow_their_samples(tmp_path: Path) -> None:
    write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST}, weight=0.5)
    packed, report = pack(
        tmp_path,
        {"kind": "move_samples", "samples": ["t/1"], "split": "train"},
        {"kind": "relabel", "samples": ["a/2"], "label": "c"},
    )
    train, test = packed.read_split("train"), packed.read_split("test")
    assert train.names == ["a/1", "t/1", "b/1", "b/2", "c/1", "a/2"]
    assert train.targets.tolist() == [0, 0, 1, 1, 2, 2]
    for image, seed in zip(train.images, (1, 6, 3, 4, 5, 2), strict=True):
        np.testing.assert_array_equal(image, build_pixels(seed))
    assert train.weights is not None
    assert train.weights.tolist() == [0.5, 0.5, 1.5, 2.0, 2.5, 1.0]
    assert test.names == ["t/2"]
    assert report["splits"]["train"] == {"num_samples": 6, "classes": {"a": 2, "b": 2, "c": 2}}
    assert report["edits"] == [{"kind": "move_samples", "num_samples": 1}, {"kind": "relabel", "num_samples": 1}]
    assert report["weights"]["max"] == 2.5
    assert (tmp_path / "out/preview.png").exists()


def test_an_edit_without_effect_has_the_same_hash(tmp_path: Path) -> None:
    base = write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST})
    packed, report = pack(tmp_path, {"kind": "drop_blank"})
    assert packed.meta == base.meta
    assert report["warnings"] == ["Operation 0 (drop_blank) changed no sample."]


@pytest.mark.parametrize(("task", "classes"), [("binary", "ab"), ("multilabel", "abc"), ("regression", "xy")])
def test_other_tasks_retain_their_targets(task: str, classes: str, tmp_path: Path) -> None:
    samples: list[Sample] = [("1", 0, 1), ("2", 1, 2), ("3", 1, 2), ("4", 0, -1)]
    base = write_splits(tmp_path / "base", {"train": samples}, classes, task=task)
    packed, _ = pack(tmp_path, {"kind": "drop_duplicates"}, {"kind": "drop_blank"})
    assert (packed.meta.task, packed.meta.num_outputs) == (task, base.meta.num_outputs)
    np.testing.assert_array_equal(packed.read_split("train").targets, base.read_split("train").targets[:2])


def test_the_rows_of_a_table_are_edited(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(CSV)
    pack_table(tmp_path / "x.csv", tmp_path / "base", UploadLimits(), {"missing": "impute"})
    packed, report = pack(
        tmp_path,
        {"kind": "drop_duplicates"},
        {"kind": "relabel", "samples": ["5"], "label": "cat"},
        {"kind": "rename_classes", "classes": {"dog": "bird"}},
    )
    split = packed.read_split("train")
    assert packed.meta.classes == ("bird", "cat")
    assert split.names == ["2", "3", "5", "6"], "the names of rows are their lines"
    assert split.targets.tolist() == [1, 0, 1, 0]
    assert split.images.tolist() == [[1, 2], [2, 1], [3, 2], [4, 0]]
    roles = {column["name"]: (column["role"], column["num_missing"]) for column in report["columns"]}
    assert roles == {"size": ("numeric", 0), "home": ("categorical", 1), "kind": ("target", 0)}


def test_a_class_cannot_lose_its_training_samples(tmp_path: Path) -> None:
    write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST})
    with pytest.raises(InvalidSpec, match="These classes have samples, but no training samples: b") as raised:
        pack(tmp_path, {"kind": "drop_samples", "samples": ["b/1", "b/2"]})
    assert raised.value.extra["code"] == "dataset_unknown_class"


def test_one_class_is_too_few(tmp_path: Path) -> None:
    write_splits(tmp_path / "base", {"train": TRAIN[:3]}, "ab")
    with pytest.raises(InvalidSpec, match="leaves only the class 'a'"):
        pack(tmp_path, {"kind": "drop_samples", "samples": ["b/1"]})


def test_an_invalid_operation_has_its_index(tmp_path: Path) -> None:
    write_splits(tmp_path / "base", {"train": TRAIN})
    with pytest.raises(InvalidSpec) as raised:
        pack(tmp_path, {"kind": "drop_blank"}, {"kind": "drop_classes", "classes": ["x"]})
    assert raised.value.errors[0][0] == "/operations/1/classes/0"
    assert raised.value.extra["operation"] == 1


def test_weights_of_zero_are_rejected(tmp_path: Path) -> None:
    write_splits(tmp_path / "base", {"train": TRAIN}, weight=0.0)
    with pytest.raises(InvalidSpec, match="weight 0"):
        pack(tmp_path, {"kind": "drop_blank"})
