"""Operations of an edit: parsing, defaults and bounds."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets.edits.operations import MAX_OPERATIONS, MAX_SAMPLES, parse_operations


def test_samples_are_names_or_objects() -> None:
    [operation] = parse_operations([{"kind": "drop_samples", "samples": ["a", {"name": "b", "split": "test"}]}])
    assert [(each.name, each.split) for each in operation.sample_references] == [("a", None), ("b", "test")]
    [again] = parse_operations([operation.model_dump(mode="json")])
    assert again == operation


@pytest.mark.parametrize(
    "operation",
    [
        {"kind": "drop_samples", "samples": ["x"] * (MAX_SAMPLES + 1)},
        {"kind": "drop_samples", "samples": ["x" * 1025]},
        {"kind": "drop_samples", "samples": [{"name": "x", "split": "dev"}]},
        {"kind": "relabel", "samples": ["x"], "label": ""},
        {"kind": "rename_classes", "classes": {}},
        {"kind": "cap_per_class", "max_samples": True},
        {"kind": "cap_per_class", "max_samples": 1, "seed": 2**63},
        {"kind": "drop_duplicates", "scope": "some"},
    ],
)
def test_an_operation_out_of_bounds_is_rejected(operation: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_operations([operation])


def test_the_number_of_operations_is_bounded() -> None:
    blank = {"kind": "drop_blank"}
    assert len(parse_operations([blank] * MAX_OPERATIONS)) == MAX_OPERATIONS
    for count in (0, MAX_OPERATIONS + 1):
        with pytest.raises(ValidationError):
            parse_operations([blank] * count)
