"""Differences between two versions: pairs of samples, counts per split and class, and the first samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets import comparison as comparisons
from core.datasets.comparison import CHANGES, VersionComparison, compare_versions, format_target, pair_rows
from tests.support.packed_splits import Sample, write_splits

TRAIN: list[Sample] = [("1", 0, 1), ("2", 0, 2), ("3", 1, 3), ("4", 2, 4)]
TEST: list[Sample] = [("5", 0, 5), ("6", 1, 6)]


def compare(
    folder: Path, train: list[Sample], test: list[Sample] = TEST, classes: str = "abc", **options: Any
) -> VersionComparison:
    """Compare a version with the version of `TRAIN` and `TEST`."""
    base = write_splits(folder / "base", {"train": TRAIN, "test": TEST})
    version = write_splits(folder / "version", {"train": train, "test": test}, classes)
    return compare_versions(version, base, **options)


def summarize(found: VersionComparison) -> dict[str, dict[str, int]]:
    return {split: {str(change): count for change, count in counts.items()} for split, counts in found.counts.items()}


def list_names(found: VersionComparison) -> dict[str, list[tuple[str | None, str | None]]]:
    """Return the names of the base version and of the version, keyed by the kind of change."""
    return {
        change: [(sample.base_name, sample.name) for sample in found.samples[change]]
        for change in CHANGES
        if found.samples[change]
    }


def test_equal_versions_have_no_differences(tmp_path: Path) -> None:
    found = compare(tmp_path, list(reversed(TRAIN)))
    assert (found.num_unchanged, summarize(found), list_names(found)) == (6, {}, {})


def test_a_renamed_sample_is_unchanged(tmp_path: Path) -> None:
    found = compare(tmp_path, [("new", 0, 1), *TRAIN[1:]])
    assert (found.num_unchanged, summarize(found)) == (6, {})


def test_samples_are_added_and_removed(tmp_path: Path) -> None:
    found = compare(tmp_path, [*TRAIN[:3], ("7", 1, 7), ("8", 1, 8)])
    assert summarize(found) == {"train": {"added": 2, "removed": 1}}
    assert list_names(found) == {"added": [(None, "7"), (None, "8")], "removed": [("4", None)]}
    assert found.class_counts["train"] == {"b": {"added": 2}, "c": {"removed": 1}}
    assert found.samples["removed"][0].base_label == "c"
    assert found.samples["removed"][0].split is None


def test_a_relabelled_sample_may_have_another_name(tmp_path: Path) -> None:
    found = compare(tmp_path, [("1", 2, 1), ("moved/2", 1, 2), *TRAIN[2:]])
    assert summarize(found) == {"train": {"relabelled": 2}}
    assert list_names(found) == {"relabelled": [("1", "1"), ("2", "moved/2")]}
    assert [(each.base_label, each.label) for each in found.samples["relabelled"]] == [("a", "c"), ("a", "b")]


def test_classes_are_compared_by_name(tmp_path: Path) -> None:
    found = compare(
        tmp_path, [(name, 2 - label, seed) for name, label, seed in TRAIN], [("5", 2, 5), ("6", 1, 6)], "cba"
    )
    assert (found.num_unchanged, summarize(found)) == (6, {})


def test_a_sample_is_moved_between_splits(tmp_path: Path) -> None:
    found = compare(tmp_path, TRAIN[1:], [*TEST, ("train/1", 0, 1)])
    assert summarize(found) == {"test": {"moved": 1}}
    [sample] = found.samples["moved"]
    assert (sample.base_split, sample.base_name, sample.split, sample.name) == ("train", "1", "test", "train/1")


def test_other_pixels_under_the_same_name_are_a_change(tmp_path: Path) -> None:
    found = compare(tmp_path, [("1", 0, 99), *TRAIN[1:]])
    assert summarize(found) == {"train": {"changed": 1}}
    assert list_names(found) == {"changed": [("1", "1")]}


def test_copies_are_paired_one_to_one(tmp_path: Path) -> None:
    found = compare(tmp_path, [*TRAIN, ("copy", 0, 1), ("other", 2, 1)])
    assert summarize(found) == {"train": {"added": 2}}
    assert list_names(found) == {"added": [(None, "copy"), (None, "other")]}


def test_names_are_compared_without_reading_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(comparisons, "compute_digests")
    found = compare(tmp_path, [("1", 2, 99), *TRAIN[2:], ("5", 0, 5)], [("2", 0, 2), ("6", 1, 6)], by_content=False)
    assert summarize(found) == {"train": {"relabelled": 1, "moved": 1}, "test": {"moved": 1}}


def test_each_list_has_at_most_a_hundred_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "MAX_LISTED", 3)
    found = compare(tmp_path, [*TRAIN, *((f"n{n}", 0, 100 + n) for n in range(5))])
    assert found.counts["train"]["added"] == 5
    assert len(found.samples["added"]) == 3


def test_a_comparison_can_be_cancelled(tmp_path: Path) -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        compare(tmp_path, TRAIN, on_chunk=stop)


def test_targets_of_a_regression_are_compared(tmp_path: Path) -> None:
    samples: list[Sample] = [("1", 5, 1), ("2", 6, 2)]
    base = write_splits(tmp_path / "base", {"train": samples}, "xy", task="regression")
    version = write_splits(tmp_path / "new", {"train": [("1", 5, 1), ("2", 7, 2)]}, "xy", task="regression")
    found = compare_versions(version, base)
    [sample] = found.samples["relabelled"]
    assert (sample.base_label, sample.label, found.class_counts) == ("6, 6", "7, 7", {})


def test_rows_are_paired_in_order() -> None:
    first, second = np.asarray([3, 1, 3, 2]), np.asarray([3, 2, 3, 3])
    at_first, at_second = pair_rows([first], [second])
    assert at_first.tolist() == [0, 2, 3]
    assert at_second.tolist() == [0, 2, 1]
    assert [part.tolist() for part in pair_rows([first[:0]], [second])] == [[], []]


def test_targets_are_texts() -> None:
    assert format_target("multilabel", ["a", "b", "c"], np.asarray([1.0, 0.0, 1.0])) == "a, c"
    assert format_target("regression", [], np.arange(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"
