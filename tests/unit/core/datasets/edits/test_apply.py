"""The effect of each operation on the samples, and errors of samples that do not exist."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.datasets.edits.apply import apply_operations
from core.datasets.edits.operations import parse_operations
from core.datasets.edits.selection import SampleSelection
from core.datasets.packed import SPLITS
from core.errors import InvalidSpec
from tests.support.packed_splits import Sample, write_splits

TRAIN: list[Sample] = [("1", 0, 10), ("2", 0, 10), ("3", 1, 11), ("4", 1, 12), ("5", 2, -1), ("6", 2, 13)]
TEST: list[Sample] = [("7", 0, 10), ("8", 2, 11), ("9", 1, 14), ("10", 1, 14)]
Apply = Callable[..., SampleSelection]


@pytest.fixture
def apply(tmp_path: Path) -> Apply:
    """Apply operations to ten images in two splits, of which some are equal."""

    def run(*operations: dict[str, Any], **changes: Any) -> SampleSelection:
        selection = SampleSelection.open(write_splits(tmp_path / "base", {"train": TRAIN, "test": TEST}, **changes))
        results = apply_operations(selection, parse_operations(operations))
        selection.warnings.append(str([result.num_samples for result in results]))
        return selection

    return run


def list_samples(selection: SampleSelection) -> dict[str, str]:
    """Return the names of the samples that remain, keyed by split."""
    found: dict[str, list[str]] = {}
    for at in selection.list_positions().tolist():
        found.setdefault(SPLITS[selection.split_codes[at]], []).append(selection.names[at])
    return {split: " ".join(names) for split, names in found.items()}


def list_labels(selection: SampleSelection) -> dict[str, str]:
    """Return the classes of the samples that remain, keyed by name."""
    assert selection.labels is not None
    return {selection.names[at]: selection.classes[selection.labels[at]] for at in selection.list_positions().tolist()}


@pytest.mark.parametrize(
    ("options", "train", "test"),
    [
        ({}, "4 5 6", "7 8 9"),
        ({"keep": "train"}, "1 3 4 5 6", "9"),
        ({"scope": "across_splits"}, "4 5 6", "7 8 9 10"),
        ({"scope": "across_splits", "keep": "train"}, "1 2 3 4 5 6", "9 10"),
    ],
)
def test_copies_are_removed(options: dict[str, str], train: str, test: str, apply: Apply) -> None:
    selection = apply({"kind": "drop_duplicates", **options})
    assert list_samples(selection) == {"train": train, "test": test}


def test_equal_samples_of_different_classes_are_removed(apply: Apply) -> None:
    assert list_samples(apply({"kind": "drop_conflicts"})) == {"train": "1 2 4 5 6", "test": "7 9 10"}


def test_a_conflict_with_a_removed_sample_does_not_count(apply: Apply) -> None:
    selection = apply({"kind": "drop_samples", "samples": ["8"]}, {"kind": "drop_conflicts"})
    assert list_samples(selection) == {"train": "1 2 3 4 5 6", "test": "7 9 10"}
    assert "Operation 1 (drop_conflicts) changed no sample." in selection.warnings


def test_blank_images_are_removed(apply: Apply) -> None:
    assert list_samples(apply({"kind": "drop_blank"}))["train"] == "1 2 3 4 6"


def test_samples_are_moved_to_a_new_split(apply: Apply) -> None:
    selection = apply({"kind": "move_samples", "samples": ["1", "7", {"name": "9", "split": "test"}], "split": "valid"})
    assert list_samples(selection) == {"train": "2 3 4 5 6", "valid": "1 7 9", "test": "8 10"}
    assert selection.warnings == ["[3]"]


def test_samples_get_another_class(apply: Apply) -> None:
    selection = apply(
        {"kind": "relabel", "samples": ["1", "3"], "label": "b"},
        {"kind": "relabel", "samples": ["6"], "label": "d", "create": True},
    )
    labels = list_labels(selection)
    assert (labels["1"], labels["3"], labels["6"]) == ("b", "b", "d")
    assert selection.warnings == ["[1, 1]"], "one of the two samples had the class before"


def test_classes_are_merged_swapped_and_removed(apply: Apply) -> None:
    merged = apply({"kind": "rename_classes", "classes": {"a": "x", "b": "x"}})
    assert set(list_labels(merged).values()) == {"x", "c"}
    assert merged.classes == ["x", "c"]


def test_swapped_classes_keep_their_samples_apart(apply: Apply) -> None:
    labels = list_labels(apply({"kind": "rename_classes", "classes": {"a": "b", "b": "a"}}))
    assert (labels["1"], labels["3"], labels["5"]) == ("b", "a", "c")


@pytest.mark.parametrize(
    "operation", [{"kind": "keep_classes", "classes": ["a", "c"]}, {"kind": "drop_classes", "classes": ["b"]}]
)
def test_samples_of_other_classes_are_removed(operation: dict[str, Any], apply: Apply) -> None:
    selection = apply(operation, {"kind": "rename_classes", "classes": {"c": "z"}})
    assert list_samples(selection) == {"train": "1 2 5 6", "test": "7 8"}
    assert list_labels(selection)["6"] == "z"
    assert selection.warnings == ["[4, 3]"]


def test_the_classes_of_a_split_are_limited_at_random(apply: Apply) -> None:
    cap = {"kind": "cap_per_class", "max_samples": 1, "seed": 3}
    selection = apply(cap)
    names = list_samples(selection)
    assert names["test"] == "7 8 9 10"
    assert len(names["train"].split()) == 3
    assert sorted(list_labels(selection)[name] for name in names["train"].split()) == ["a", "b", "c"]


def test_another_seed_selects_other_samples(tmp_path: Path) -> None:
    samples: list[Sample] = [(str(n), n % 2, n) for n in range(40)]
    base = write_splits(tmp_path / "base", {"train": samples}, "ab")

    def cap(seed: int) -> dict[str, str]:
        selection = SampleSelection.open(base)
        apply_operations(selection, parse_operations([{"kind": "cap_per_class", "max_samples": 5, "seed": seed}]))
        return list_samples(selection)

    assert cap(1) == cap(1) != cap(2)
    assert len(cap(1)["train"].split()) == 10


@pytest.mark.parametrize(
    ("operations", "index", "reason"),
    [
        (
            [{"kind": "drop_samples", "samples": ["1", "11"]}],
            0,
            "/operations/0/samples/1: unknown sample '11'; did you",
        ),
        (
            [{"kind": "drop_samples", "samples": [{"name": "7", "split": "train"}]}],
            0,
            "is in the split test, not in tr",
        ),
        ([{"kind": "drop_blank"}, {"kind": "drop_samples", "samples": ["5"]}], 1, "removed by an earlier operation"),
        ([{"kind": "move_samples", "samples": list("123456"), "split": "test"}], 0, "leaves no training sample"),
    ],
)
def test_an_error_has_the_index_of_its_operation(
    operations: list[dict[str, Any]], index: int, reason: str, apply: Apply
) -> None:
    with pytest.raises(InvalidSpec) as raised:
        apply(*operations)
    assert raised.value.extra["operation"] == index
    assert reason in raised.value.detail
    assert f"operation {index}" in raised.value.extra["hint"]
