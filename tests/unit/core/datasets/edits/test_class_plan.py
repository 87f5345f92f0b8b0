"""Checks of operations against the classes of a version, and the order of classes."""

from typing import Any

import pytest

from core.datasets.columns import Column, Table
from core.datasets.edits.class_plan import find_errors, sort_classes
from core.datasets.edits.operations import parse_operations
from core.datasets.packed import PackedMeta

ROWS = Table(columns=(Column(name="x"),), targets=("y",))


def build_meta(**changes: Any) -> PackedMeta:
    options: dict[str, Any] = {"task": "classification", "classes": ("a", "b", "c"), "num_outputs": 3}
    options |= {
        "image_shape": (1, 2, 2),
        "splits": {"train": 9},
        "mean": (),
        "std": (),
        "resize": "",
        "content_hash": "",
    }
    return PackedMeta(**options | changes)


def find(*operations: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    return [(each.pointer, each.reason) for each in find_errors(parse_operations(operations), build_meta(**changes))]


def test_later_operations_see_the_classes_of_earlier_ones() -> None:
    rename = {"kind": "rename_classes", "classes": {"a": "x", "b": "x"}}
    assert find(rename, {"kind": "keep_classes", "classes": ["x", "c"]}) == []
    [(pointer, reason)] = find(rename, {"kind": "drop_classes", "classes": ["a"]})
    assert (pointer, reason) == ("/1/classes/0", "unknown class 'a'; known: 'x', 'c'")
    [(pointer, reason)] = find(rename, {"kind": "drop_classes", "classes": ["x"]})
    assert (pointer, reason) == ("/1", "leaves only the class 'c'; at least 2 are required")


def test_names_can_be_swapped() -> None:
    swap = {"kind": "rename_classes", "classes": {"a": "b", "b": "a"}}
    assert find(swap, {"kind": "drop_classes", "classes": ["b"]}) == []


def test_a_created_class_exists_afterwards() -> None:
    create = {"kind": "relabel", "samples": ["1"], "label": "d", "create": True}
    assert find(create, {"kind": "keep_classes", "classes": ["a", "d"]}) == []
    assert find(create | {"create": False})[0][0] == "/0/label"
    [(pointer, reason)] = find(create, task="binary", classes=("a", "b"), num_outputs=1)
    assert (pointer, "binary" in reason) == ("/0", True)


@pytest.mark.parametrize("name", ["a/b", "a\\b", ".hidden", " x", "x\n", "x\x01"])
def test_a_name_that_no_folder_has_is_rejected(name: str) -> None:
    [(pointer, _)] = find({"kind": "rename_classes", "classes": {"a": name}})
    assert pointer == "/0/classes/a"


def test_a_class_of_a_table_cannot_mean_a_missing_value() -> None:
    rename = {"kind": "rename_classes", "classes": {"a": "n/a"}}
    assert "missing value" in find(rename, table=ROWS)[0][1]
    assert find({"kind": "rename_classes", "classes": {"a": "b/c"}}, table=ROWS) == []


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("drop_blank", {"table": ROWS}, "requires images"),
        ("drop_conflicts", {"task": "regression"}, "the task of the version is regression"),
        ("drop_conflicts", {"task": "multilabel"}, "the task of the version is multilabel"),
        ("drop_duplicates", {"table": ROWS.model_copy(update={"window": 3})}, "time series"),
    ],
)
def test_an_operation_requires_a_kind_of_samples(kind: str, changes: dict[str, Any], reason: str) -> None:
    [(pointer, found)] = find({"kind": kind}, **changes)
    assert pointer == "/0/kind"
    assert reason in found


def test_the_number_of_errors_is_bounded() -> None:
    assert len(find({"kind": "drop_classes", "classes": [str(n) for n in range(300)]})) == 100


def test_classes_of_tables_are_sorted_as_numbers() -> None:
    assert sort_classes(["10", "9", "2"], is_table=True) == ["2", "9", "10"]
    assert sort_classes(["10", "9", "x"], is_table=True) == ["10", "9", "x"]
    assert sort_classes(["9", "10"], is_table=False) == ["10", "9"]
