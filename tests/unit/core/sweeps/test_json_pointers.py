"""JSON pointers of RFC 6901: values are read and replaced without changing the document."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.spec.error_pointers import build_pointer
from core.sweeps.json_pointers import UnknownPointer, get_value, is_inside, set_value, split_pointer

DOCUMENT: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}, "x/y": 3, "m~n": 4, "": 5, "0": 6}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("/a/b/0", 1), ("/a/b/1/c", 2), ("/x~1y", 3), ("/m~0n", 4), ("/", 5), ("/0", 6)],
)
def test_a_value_is_read_and_replaced(pointer: str, value: int) -> None:
    assert get_value(DOCUMENT, pointer) == value
    changed = set_value(DOCUMENT, pointer, "new")
    assert get_value(changed, pointer) == "new"
    assert get_value(DOCUMENT, pointer) == value


@pytest.mark.parametrize(
    "pointer", ["/b/c", "/a/b/2", "/a/b/-", "/a/b/01", "/a/b/-1", "/a/b/x", "/a/b/0/c", "/a/b/99999999"]
)
def test_a_pointer_without_a_container_is_unknown(pointer: str) -> None:
    with pytest.raises(UnknownPointer):
        get_value(DOCUMENT, pointer)
    with pytest.raises(UnknownPointer):
        set_value(DOCUMENT, pointer, 1)


def test_a_field_can_be_added_to_an_object() -> None:
    assert set_value(DOCUMENT, "/a/new", 1)["a"]["new"] == 1


def test_is_inside_compares_whole_parts() -> None:
    assert is_inside("/a/b", "/a")
    assert not is_inside("/ab", "/a")
    assert not is_inside("/a", "/a")


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_split_pointer_is_the_inverse_of_build_pointer(tokens: list[str]) -> None:
    assert split_pointer(build_pointer(tokens)) == tokens
