"""JSON that PostgreSQL can store."""

from typing import Any

import pytest

from worker.control.storable_json import strip_unstorable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "?"),
        ({"k\0": ["\0", 1, None, 0.5, True]}, {"k\ufffd": ["\ufffd", 1, None, 0.5, True]}),
        (("a",), ["a"]),
    ],
)
def test_zero_characters_and_lone_surrogates_are_replaced(value: Any, expected: Any) -> None:
    assert strip_unstorable(value) == expected
