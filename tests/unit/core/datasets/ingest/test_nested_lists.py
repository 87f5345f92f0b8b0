"""The shape of nested JSON arrays."""

from typing import Any

import pytest

from core.datasets.ingest.nested_lists import infer_shape, iterate_rows
from core.errors import InvalidSpec


@pytest.mark.parametrize(("values", "shape"), [([1], (1,)), ([[1, 2]], (1, 2)), ([[[1], [2]]] * 3, (3, 2, 1))])
def test_the_shape_is_that_of_the_first_elements(values: list[Any], shape: tuple[int, ...]) -> None:
    assert infer_shape(values, ("inputs",), 3) == shape
    assert sum(len(row) for _, row in iterate_rows(values, shape, ("inputs",))) == len(str(values).split(","))


def test_a_ragged_array_has_a_pointer() -> None:
    with pytest.raises(InvalidSpec) as raised:
        list(iterate_rows([[[1], [2]], [[1], [2, 3]]], (2, 2, 1), ("inputs",)))
    assert raised.value.errors == [("/inputs/1/1", "has 2 values, but /inputs/0/0 has 1; lengths must be equal")]
