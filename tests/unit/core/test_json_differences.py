"""Differences of specs are found field by field."""

from typing import Any

import pytest

from core.json_differences import SpecDifference, find_differences


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("/a", {"x": 1, "y": 2})]),
        ({"a": 1}, {"a": True}, [("/a", {"x": 1, "y": True})]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": "1"}, [("/a", {"x": 1, "y": "1"})]),
        ({"a": None, "b": 1}, {"b": 1}, [("/a", {"x": None})]),
        ({"a": {"b/c": [1, 2]}}, {"a": {"b/c": [1, 3, 4]}}, [("/a/b~1c/1", {"x": 2, "y": 3}), ("/a/b~1c/2", {"y": 4})]),
        ({"a": []}, {"a": [1]}, [("/a", {"x": []}), ("/a/0", {"y": 1})]),
        ({"a": {}}, {"a": {}}, []),
    ],
)
def test_find_differences(first: Any, second: Any, expected: list[tuple[str, Any]]) -> None:
    assert find_differences({"x": first, "y": second}) == [SpecDifference(*each) for each in expected]


def test_a_field_that_one_of_several_jobs_lacks_differs() -> None:
    specs = {"x": {"lr": 0.1, "k": 1}, "y": {"lr": 0.1, "k": 1}, "z": {"k": 1}}
    assert find_differences(specs) == [SpecDifference("/lr", {"x": 0.1, "y": 0.1})]
