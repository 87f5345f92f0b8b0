"""Divides a time series into training, validation and test windows. Windows of different splits do not overlap."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from core.datasets.columns import Rows, Table
from core.datasets.packed import SPLITS
from core.datasets.tables.writer import TableSplit
from core.errors import InvalidTable


def make_windows(
    table: Table,
    rows: Rows,
    targets: NDArray[np.float64],
    row_names: Sequence[object] | NDArray[np.int64],
    shares: tuple[float, float],
) -> dict[str, TableSplit]:
    """Divide a series into consecutive parts for training, validation and test, in this order.

    A window and the rows it predicts are always in the same part.

    Args:
        table: the columns, window and horizon.
        rows: float32 (L, F), in the order of time.
        targets: the values of the target columns in each row, (L, K).
        row_names: the name of each row. A window gets the name of the first row that it predicts.
        shares: the fractions of the series for validation and test. 0: no such split.

    Raises:
        InvalidTable: a part is too short for a window.
    """
    window, horizon = table.window or 1, table.horizon
    num_valid, num_test = (round(len(rows) * share) for share in shares)
    num_train = len(rows) - num_valid - num_test
    splits: dict[str, TableSplit] = {}
    start = 0
    for name, length in zip(SPLITS, (num_train, num_valid, num_test), strict=True):
        if (name == "valid" and not shares[0]) or (name == "test" and not num_test):
            continue
        if length < window + horizon:
            raise InvalidTable(
                f"The series has {len(rows)} rows, {length} of them for {name}. A window of {window} rows with a "
                f"horizon of {horizon} needs at least {window + horizon}.",
                code="table_too_few_rows",
                hint="Upload a longer series, set a shorter window or horizon, or change valid_share or test_share.",
            )
        part = slice(start, start + length)
        future = sliding_window_view(targets[part][window:], horizon, axis=0).swapaxes(1, 2)  # (N, horizon, K)
        names = [str(mark) for mark in row_names[part][window : window + len(future)]]
        flat = np.ascontiguousarray(future.reshape(len(future), -1), np.float32)
        splits[name] = TableSplit(rows[part], flat, names)
        start += length
    return splits
