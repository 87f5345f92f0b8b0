"""A series cut in time: what trains comes before what validates, and no window reaches over the border."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from core.datasets.packed import SPLITS
from core.datasets.tables.columns import Rows, Table
from core.datasets.tables.writer import TableSplit
from core.errors import InvalidTable


def make_windows(
    table: Table,
    rows: Rows,
    targets: NDArray[np.float64],
    row_names: Sequence[object] | NDArray[np.int64],
    shares: tuple[float, float],
) -> dict[str, TableSplit]:
    """Return the stretches of a series, the first to train on, the next to validate, the last to test.

    A window with what follows it lies in one stretch whole, so that nothing is trained on that is validated.

    Args:
        table: tells window and horizon.
        rows: float32, (L, F), in the order of time.
        targets: (L, K), what is predicted of each row.
        marks: a name a row; a window has that of the first row it predicts.
        shares: of validation and test.

    Raises:
        InvalidTable: a stretch is too short for a window.
    """
    window, horizon = table.window or 1, table.horizon
    num_valid, num_test = (round(len(rows) * share) for share in shares)
    num_train = len(rows) - num_valid - num_test
    splits: dict[str, TableSplit] = {}
    start = 0
    for name, length in zip(SPLITS, (num_train, num_valid, num_test), strict=True):
        if name == "test" and not num_test:
            continue
        if length < window + horizon:
            raise InvalidTable(
                f"The series has {len(rows)} rows, of which {length} are for {name}; a window of {window} rows and "
                f"the {horizon} after it need {window + horizon}.",
                code="table_too_few_rows",
                hint="Upload a longer series, or ask for a shorter window, a shorter horizon or another share.",
            )
        part = slice(start, start + length)
        future = sliding_window_view(targets[part][window:], horizon, axis=0).swapaxes(1, 2)  # (N, horizon, K)
        names = [str(mark) for mark in row_names[part][window : window + len(future)]]
        flat = np.ascontiguousarray(future.reshape(len(future), -1), np.float32)
        splits[name] = TableSplit(rows[part], flat, names)
        start += length
    return splits
