"""From rows and windows that a client sent to the numbers that a network was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from app.serving.decoding import PixelValues, Sent
from app.serving.types import Pixels
from core.datasets.columns import LARGEST, Table
from core.errors import InvalidRow, ServiceError


class Row(NamedTuple):
    """A row of a table: values by column."""

    values: Mapping[str, Any]


def read(sent: Sequence[Sent | Row], table: Table) -> list[Pixels | ServiceError]:
    """Each row, float32 (F,), or window, (T, F), or what is wrong with it."""
    return [_read(number, one, table) for number, one in enumerate(sent)]


def _read(number: int, sent: Sent | Row, table: Table) -> Pixels | ServiceError:
    match sent:
        case Row() if table.window is None:
            try:
                return table.encode(sent.values)
            except InvalidRow as error:
                column = str(error.facts.get("column", "")).replace("~", "~0").replace("/", "~1")
                error.errors = [(f"/rows/{number}/{column}", error.detail)]
                return error
        case Row():
            return _refusal(table, "rows one at a time")
        case PixelValues():
            return _numbers(sent.numbers, table)
        case bytes():
            return _refusal(table, "a file")
        case _:
            return sent


def _numbers(numbers: object, table: Table) -> Pixels | ServiceError:
    if table.window is None:
        return _refusal(table, "values without their columns")
    try:
        values = np.asarray(numbers)
    except ValueError:
        return InvalidRow("The values are ragged: every step of a window has one value a column.")
    if values.shape != table.sample_shape and values.shape != (table.window,) * (len(table.columns) == 1):
        return _refusal(table, f"values of the shape {list(values.shape)}")
    if values.dtype.kind not in "iuf" or not (np.abs(values.astype(np.float64)) <= LARGEST).all():
        return InvalidRow("The values of a window are finite numbers.")
    return values.astype(np.float32).reshape(table.sample_shape)


def _refusal(table: Table, came: str) -> InvalidRow:
    if table.window is None:
        wanted = (
            'rows: {"rows": [{"' + table.names[0] + '": …, …}]}, with a value for each of ' + ", ".join(table.names)
        )
    else:
        steps = f"{table.window} steps of {len(table.columns)} values ({', '.join(table.names)}) each"
        wanted = 'windows: {"instances": [{"values": [[…], …]}]}, ' + steps
    return InvalidRow(f"The model reads {wanted}; {came} came.")
