"""The order of samples and classes after an edit."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from core.datasets.edits.apply import apply_operations
from core.datasets.edits.operations import parse_operations
from core.datasets.edits.order import order_samples, replace_class_folder
from core.datasets.edits.selection import SampleSelection
from tests.support.packed_splits import Sample, write_splits

SORTED: list[Sample] = [("a/1", 0, 1), ("a/3", 0, 2), ("b/2", 1, 3), ("c/0", 2, 4)]
RENAME = {"kind": "rename_classes", "classes": {"a": "z"}}


def order(
    folder: Path, samples: list[Sample], *operations: Mapping[str, object], classes: str = "abc"
) -> tuple[str, str]:
    """Return the classes, and the names of the training samples in order."""
    selection = SampleSelection.open(write_splits(folder / "base", {"train": samples}, classes))
    apply_operations(selection, parse_operations(operations))
    found = order_samples(selection)
    return " ".join(found.classes), " ".join(selection.names[at] for at in found.splits["train"])


def test_an_uploaded_dataset_is_sorted_as_an_upload_of_the_renamed_folders(tmp_path: Path) -> None:
    assert order(tmp_path, SORTED, RENAME) == ("b c z", "b/2 c/0 a/1 a/3")


def test_merged_classes_are_sorted_by_file_name(tmp_path: Path) -> None:
    merge = {"kind": "rename_classes", "classes": {"a": "ab", "b": "ab"}}
    assert order(tmp_path, SORTED, merge) == ("ab c", "a/1 b/2 a/3 c/0")


def test_a_relabelled_sample_is_sorted_into_its_new_class(tmp_path: Path) -> None:
    relabel = {"kind": "relabel", "samples": ["a/3"], "label": "b"}
    assert order(tmp_path, SORTED, relabel) == ("a b c", "a/1 b/2 a/3 c/0")


@pytest.mark.parametrize(
    ("samples", "classes", "expected"),
    [
        ([SORTED[2], *SORTED[:2], SORTED[3]], "abc", ("b c z", "b/2 a/1 a/3 c/0")),
        ([("x", 0, 1), ("y", 1, 2), ("w", 2, 3)], "bac", ("b z c", "x y w")),
    ],
)
def test_another_order_is_retained(
    samples: list[Sample], classes: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    assert order(tmp_path, samples, RENAME, classes=classes) == expected


def test_a_class_without_samples_is_removed_with_a_warning(tmp_path: Path) -> None:
    selection = SampleSelection.open(write_splits(tmp_path / "base", {"train": SORTED}))
    apply_operations(selection, parse_operations([{"kind": "drop_samples", "samples": ["b/2"]}]))
    found = order_samples(selection)
    assert found.classes == ("a", "c")
    assert selection.labels is not None
    assert selection.labels[found.splits["train"]].tolist() == [0, 0, 1]
    assert selection.warnings == ["These classes have no samples and were removed: b."]


def test_the_folder_of_the_class_is_replaced() -> None:
    assert replace_class_folder("pets/cat/cat.png", "cat", "dog") == "pets/dog/cat.png"
    assert replace_class_folder("0017.png", "cat", "dog") == "0017.png"
