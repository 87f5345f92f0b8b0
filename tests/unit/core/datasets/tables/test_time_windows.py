"""Dividing a time series."""

import numpy as np
import pytest

from core.datasets.columns import Column, Table
from core.datasets.tables.time_windows import make_windows
from core.errors import InvalidTable

TABLE = Table(columns=(Column(name="a"),), targets=("a",), window=3, horizon=2)
ROWS = np.arange(40, dtype=np.float32)[:, np.newaxis]


def test_splits_are_consecutive() -> None:
    splits = make_windows(TABLE, ROWS, ROWS.astype(np.float64), list(range(40)), (0.25, 0.25))
    assert [(name, split.rows[0, 0], len(split.rows)) for name, split in splits.items()] == [
        ("train", 0, 20),
        ("valid", 20, 10),
        ("test", 30, 10),
    ]


def test_targets_are_the_rows_after_the_window() -> None:
    train = make_windows(TABLE, ROWS, ROWS.astype(np.float64), list(range(40)), (0.25, 0.0))["train"]
    assert np.asarray(train.targets)[:2].tolist() == [[3, 4], [4, 5]]
    assert list(train.names[:2]) == ["3", "4"]
    assert np.asarray(train.targets)[-1].tolist() == [28, 29]  # the last rows before the validation split
    assert len(train.targets) == len(train.names) == 30 - 3 - 2 + 1


def test_there_is_no_test_split_without_a_share() -> None:
    splits = make_windows(TABLE, ROWS, ROWS.astype(np.float64), list(range(40)), (0.25, 0.0))
    assert list(splits) == ["train", "valid"]


def test_a_split_shorter_than_a_window_is_rejected() -> None:
    with pytest.raises(InvalidTable, match="4 of them for valid") as raised:
        make_windows(TABLE, ROWS, ROWS.astype(np.float64), list(range(40)), (0.1, 0.0))
    assert raised.value.extra["code"] == "table_too_few_rows"
