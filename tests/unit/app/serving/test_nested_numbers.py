"""Nested arrays of numbers: the shape is checked before the values are read."""

from typing import Any

import numpy as np
import pytest

from app.serving.nested_numbers import NotNumbersError, RaggedError, get_first_shape, parse_nested_numbers


@pytest.mark.parametrize(
    ("values", "shape"),
    [([], (0,)), ([[]], (1, 0)), ([[1, 2], [3]], (1 + 1, 2)), ([[[[[1]]]]], (1, 1, 1, 1)), (3, ()), ("ab", ())],
)
def test_the_shape_is_that_of_the_first_arrays(values: Any, shape: tuple[int, ...]) -> None:
    assert get_first_shape(values, 4) == shape


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3), (3, 2, 1)])
def test_numbers_are_converted(shape: tuple[int, ...]) -> None:
    values = np.arange(6).reshape(shape) + 0.5
    np.testing.assert_array_equal(parse_nested_numbers(values.tolist(), shape), values)
    np.testing.assert_array_equal(parse_nested_numbers(np.arange(6).reshape(shape).tolist(), shape), values - 0.5)


@pytest.mark.parametrize("values", [[[1, 2], [3]], [[1, 2], 3], [[1, 2], [3, 4, 5]]])
def test_ragged_arrays_are_rejected(values: Any) -> None:
    with pytest.raises(RaggedError):
        parse_nested_numbers(values, (2, 2))


@pytest.mark.parametrize("value", ["1", True, None, [1], {}, "a" * 1000])
def test_other_values_are_rejected(value: Any) -> None:
    with pytest.raises(NotNumbersError):
        parse_nested_numbers([1, value], (2,))


@pytest.mark.parametrize("row", ["34", {"a": 1, "b": 2}, [[3], 4]])
def test_rows_of_other_types_are_rejected(row: Any) -> None:
    with pytest.raises(NotNumbersError):
        parse_nested_numbers([[1, 2], row], (2, 2))
