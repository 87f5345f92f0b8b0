"""Encodes the rows and windows of a request as network input, in the same way as the training data."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from app.serving.decoding import ImageInput, PixelValues
from app.serving.nested_numbers import NotNumbersError, RaggedError, get_first_shape, parse_nested_numbers
from app.serving.types import Pixels
from core.datasets.columns import MAX_FLOAT32, Table
from core.errors import InvalidRow, ServiceError
from core.spec.error_pointers import format_names, shorten_name

MAX_AXES = 3  # one more than a window has
_NUMBER_RULE = "The values of a window must be finite numbers."


class TableRow(NamedTuple):
    """A row of a table: its values, keyed by column name."""

    values: Mapping[str, Any]


def encode_rows(instances: Sequence[ImageInput | TableRow], table: Table) -> list[Pixels | ServiceError]:
    """Return a float32 array per instance, (F,) for a row and (T, F) for a window, or the error of the instance."""
    return [_encode_instance(number, instance, table) for number, instance in enumerate(instances)]


def _encode_instance(number: int, instance: ImageInput | TableRow, table: Table) -> Pixels | ServiceError:
    match instance:
        case TableRow() if table.window is None:
            try:
                return table.encode_row(instance.values)
            except InvalidRow as error:
                column = str(error.extra.get("column", "")).replace("~", "~0").replace("/", "~1")
                error.errors = [(f"/rows/{number}/{column}", error.detail)]
                return error
        case TableRow():
            return _make_format_error(table, "single rows")
        case PixelValues():
            return _encode_window(instance.numbers, table)
        case bytes():
            return _make_format_error(table, "a file")
        case _:
            return instance


def _encode_window(numbers: object, table: Table) -> Pixels | ServiceError:
    if table.window is None:
        return _make_format_error(table, "values without their columns")
    shape = get_first_shape(numbers, MAX_AXES)
    if shape != table.sample_shape and shape != (table.window,) * (len(table.columns) == 1):
        return _make_format_error(table, f"values of the shape {list(shape)}")
    try:
        values = parse_nested_numbers(numbers, shape)
    except RaggedError:
        return InvalidRow("The values are ragged: every step of a window must have one value per column.")
    except NotNumbersError:
        return InvalidRow(_NUMBER_RULE)
    if not (np.abs(values) <= MAX_FLOAT32).all():
        return InvalidRow(_NUMBER_RULE)
    return values.astype(np.float32).reshape(table.sample_shape)


def _make_format_error(table: Table, received: str) -> InvalidRow:
    names = format_names(table.column_names)
    if table.window is None:
        accepted = (
            f'rows: {{"rows": [{{"{shorten_name(table.column_names[0])}": …, …}}]}}, with a value for each of {names}'
        )
    else:
        steps = f"{table.window} steps of {len(table.columns)} values ({names}) each"
        accepted = 'windows: {"instances": [{"values": [[…], …]}]}, ' + steps
    return InvalidRow(f"The model reads {accepted}; the request has {received}.")
