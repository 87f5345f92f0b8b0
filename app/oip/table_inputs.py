"""Converts the input tensors of a request to rows or windows, with categories as integer codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BYTES, NUMPY_DTYPES
from app.oip.errors import InvalidInferRequest
from app.oip.image_inputs import check_batch_size
from app.oip.tensors import Tensor, TensorMetadata
from core.datasets.columns import MAX_FLOAT32, UNKNOWN_CATEGORY, Table
from core.errors import InvalidRow
from core.spec.error_pointers import format_names

INPUT = "rows"


def check_rows(metadata: TensorMetadata, table: Table, max_batch_size: int) -> None:
    """Check the declared datatype, shape and batch size of an input of rows or windows.

    Raises:
        InvalidInferRequest: the model does not accept the shape or datatype, or the batch is too large.
    """
    accepted = [-1, *table.sample_shape]
    if metadata.shape[1:] != table.sample_shape or NUMPY_DTYPES[metadata.datatype].kind not in "iuf":
        raise InvalidInferRequest(
            f"input '{metadata.name}' is {metadata.datatype} of shape {list(metadata.shape)}; the model takes numbers "
            f"of shape {accepted}, with the columns {format_names(table.column_names)}"
        )
    check_batch_size(metadata, max_batch_size)


def parse_rows(tensor: Tensor, table: Table) -> NDArray[np.float32]:
    """Return rows, float32 (B, F), or windows, float32 (B, T, F). `check_rows` has accepted the shape.

    The code of a category is at least 1; 0 is an unknown category. Missing numbers are NaN.

    Raises:
        InvalidInferRequest: the model does not accept the values.
    """
    values: NDArray[Any] = tensor.values.astype(np.float64)
    for index, column in enumerate(table.columns):
        _check_column(tensor.name, column.name, values[..., index], column.cardinality, table)
    return values.astype(np.float32)


def has_column_inputs(inputs: Sequence[Tensor] | Sequence[TensorMetadata], table: Table) -> bool:
    """Return whether a request has one tensor per column. MLServer's clients send data frames in this format."""
    return table.window is None and any(tensor.name in table.column_names for tensor in inputs)


def check_columns(inputs: Sequence[TensorMetadata], max_batch_size: int) -> None:
    """Check the declared shapes of columns.

    Raises:
        InvalidInferRequest: a column has several axes, columns have different lengths, or the batch is too large.
    """
    for metadata in inputs:
        if metadata.shape[1:] not in ((), (1,)):
            raise InvalidInferRequest(
                f"input '{metadata.name}' has shape {list(metadata.shape)}; a column must have shape [-1] or [-1, 1]"
            )
        check_batch_size(metadata, max_batch_size)
    lengths = {metadata.name: metadata.shape[0] for metadata in inputs}
    if len(set(lengths.values())) > 1:
        raise InvalidInferRequest(f"the columns have different numbers of rows: {lengths}")


def parse_columns(inputs: Sequence[Tensor], table: Table) -> NDArray[np.float32]:
    """Return rows, float32 (B, F), from columns of shape (B,) or (B, 1); categories are strings.

    Raises:
        InvalidInferRequest: a column is unknown, a value has the wrong type, or a required value is missing.
    """
    columns = {tensor.name: _list_elements(tensor) for tensor in inputs}
    rows = np.empty((len(next(iter(columns.values()))), len(table.columns)), np.float32)
    for index in range(len(rows)):
        try:
            rows[index] = table.encode_row({name: elements[index] for name, elements in columns.items()})
        except InvalidRow as error:
            column = error.extra.get("column", inputs[0].name)
            raise InvalidInferRequest(f"input '{column}', element {index}: {error.detail}") from None
    return rows


def _list_elements(tensor: Tensor) -> list[Any]:
    elements: list[Any] = tensor.values.ravel().tolist()
    if tensor.datatype != BYTES:
        return elements
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise InvalidInferRequest(f"input '{tensor.name}' contains text that is not UTF-8") from None


def _check_column(tensor: str, name: str, values: NDArray[np.float64], cardinality: int, table: Table) -> None:
    if cardinality:
        is_good = (values == np.rint(values)) & (values >= UNKNOWN_CATEGORY) & (values <= cardinality)
        reason = f"must contain category codes from 1 to {cardinality}, or 0 for an unknown category"
    else:
        may_miss = table.missing == "impute" and table.window is None
        is_good = (np.abs(values) <= MAX_FLOAT32) | (np.isnan(values) & may_miss)
        reason = f"must contain finite numbers{', or NaN for a missing number' * may_miss}"
    if not is_good.all():
        raise InvalidInferRequest(f"input '{tensor}': column '{name}' {reason}")
