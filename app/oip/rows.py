"""From the input tensor of a request to rows or windows: the numbers as they are packed, categories by their place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.oip.refusal import Refused
from app.oip.tensors import Tensor
from core.datasets.columns import LARGEST, UNKNOWN, Table

INPUT = "rows"


def rows_of(tensor: Tensor, table: Table, max_batch_size: int) -> NDArray[np.float32]:
    """Rows, float32 (B, F), or windows, (B, T, F).

    A category is its number from 1, 0 where it is unknown; NaN is a number that is missing.

    Raises:
        Refused: of a shape, datatype or with values that the network does not take, or too many at once.
    """
    wanted = [-1, *table.sample_shape]
    if tensor.shape[1:] != table.sample_shape or tensor.values.dtype.kind not in "iuf":
        raise Refused(
            f"input '{tensor.name}' is {tensor.datatype} of shape {list(tensor.shape)}; the model takes numbers of "
            f"{wanted}: {', '.join(table.names)}"
        )
    if tensor.shape[0] > max_batch_size:
        raise Refused(f"input '{tensor.name}' has a batch of {tensor.shape[0]}; at most {max_batch_size} are taken")
    values: NDArray[Any] = tensor.values.astype(np.float64)
    for place, column in enumerate(table.columns):
        _check(tensor.name, column.name, values[..., place], column.cardinality, table)
    return values.astype(np.float32)


def _check(tensor: str, name: str, values: NDArray[np.float64], cardinality: int, table: Table) -> None:
    if cardinality:
        is_good = (values == np.rint(values)) & (values >= UNKNOWN) & (values <= cardinality)
        reason = f"holds categories, by numbers from 1 to {cardinality}, or 0 for an unknown one"
    else:
        may_miss = table.missing == "impute" and table.window is None
        is_good = (np.abs(values) <= LARGEST) | (np.isnan(values) & may_miss)
        reason = f"holds finite numbers{', or NaN for one that is missing' * may_miss}"
    if not is_good.all():
        raise Refused(f"input '{tensor}': column '{name}' {reason}")
