"""Converts nested arrays of JSON numbers to numpy arrays. Checks the shape before it reads the values."""

from collections.abc import Collection
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
_NUMBERS = {int, float}


class RaggedError(ValueError):
    """The arrays of one level have different lengths, or some of its members are not arrays."""


class NotNumbersError(ValueError):
    """A value is not a number."""


def get_first_shape(values: Any, max_axes: int) -> Shape:  # noqa: ANN401 - any JSON value
    """Return the shape that the first array of each level has. At most `max_axes` levels are counted."""
    shape: list[int] = []
    while isinstance(values, list) and len(shape) < max_axes:
        shape.append(len(values))
        values = values[0] if values else None
    return tuple(shape)


def parse_nested_numbers(values: Any, shape: Shape) -> NDArray[np.float64]:  # noqa: ANN401 - any JSON value
    """Return an array of `shape`.

    Numpy infers the type of nested arrays from all values: one long string would allocate its length for every value.

    Raises:
        RaggedError: an array does not have the length that `shape` requires, or is a number.
        NotNumbersError: a value is not a number.
    """
    elements: Collection[Any] = values
    for size in shape[1:]:
        if not _have_length(elements, size):
            raise RaggedError
        elements = list(chain.from_iterable(elements))
    if not set(map(type, elements)) <= _NUMBERS:
        raise NotNumbersError
    return np.array(elements, np.float64).reshape(shape)


def has_floats(values: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether a number in nested arrays has a decimal point in JSON."""
    return any(map(has_floats, values)) if isinstance(values, list) else isinstance(values, float)


def _have_length(members: Collection[Any], size: int) -> bool:
    try:
        return set(map(len, members)) <= {size}  # strings and objects of this length contain no numbers
    except TypeError:
        return False
