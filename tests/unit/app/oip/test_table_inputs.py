"""Rows, windows and columns of tables as input tensors."""

from typing import Any

import numpy as np
import pytest

from app.oip.errors import InvalidInferRequest
from app.oip.table_inputs import check_columns, check_rows, has_column_inputs, parse_columns, parse_rows
from app.oip.tensors import Tensor, TensorMetadata
from core.datasets.columns import Column, Table

COLUMNS = (Column(name="length"), Column(name="island", categories=("Biscoe", "Dream")))
TABLE = Table(columns=COLUMNS, targets=("species",), missing="impute")
WINDOWS = Table(columns=COLUMNS[:1], targets=("length",), window=3)


def build_rows(values: Any, datatype: str = "FP32") -> Tensor:
    return Tensor("rows", datatype, np.asarray(values, np.float32))


def build_column(name: str, *values: Any, datatype: str = "FP32") -> Tensor:
    return Tensor(name, datatype, np.array(values, object if datatype == "BYTES" else np.float32))


def get_metadata(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(tensor.name, tensor.datatype, tensor.shape)


def check_and_parse_rows(tensor: Tensor, table: Table) -> Any:
    check_rows(get_metadata(tensor), table, 2)
    return parse_rows(tensor, table)


def check_and_parse_columns(inputs: list[Tensor], table: Table) -> Any:
    check_columns([get_metadata(tensor) for tensor in inputs], 2)
    return parse_columns(inputs, table)


def test_rows_have_codes_of_categories_and_nan() -> None:
    rows = check_and_parse_rows(build_rows([[39.5, 2], [np.nan, 0]]), TABLE)
    np.testing.assert_array_equal(rows, np.array([[39.5, 2], [np.nan, 0]], np.float32))


def test_windows_have_one_more_axis_and_no_missing_numbers() -> None:
    values = np.ones((2, 3, 1), np.float32)
    assert check_and_parse_rows(build_rows(values), WINDOWS).shape == (2, 3, 1)
    values[0, 0, 0] = np.nan
    with pytest.raises(InvalidInferRequest, match="column 'length' must contain finite numbers"):
        check_and_parse_rows(build_rows(values), WINDOWS)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[1.0, 3.0]], "column 'island' must contain category codes from 1 to 2, or 0"),
        ([[1.0, 0.5]], "column 'island' must contain category codes"),
        ([[np.inf, 1.0]], "column 'length' must contain finite numbers, or NaN"),
        ([[1.0]], "the model takes numbers of shape [-1, 2], with the columns length, island"),
        ([[1.0, 1.0]] * 3, "has a batch size of 3; at most 2"),
    ],
)
def test_invalid_rows_are_rejected_with_the_column(values: Any, reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        check_and_parse_rows(build_rows(values), TABLE)
    assert reason in raised.value.detail


def test_columns_are_recognized_by_name_and_have_categories_as_text() -> None:
    inputs = [build_column("island", b"Dream", b"Biscoe", datatype="BYTES"), build_column("length", 39.5, 40.0)]
    assert has_column_inputs(inputs, TABLE)
    assert not has_column_inputs([build_rows([[1.0, 2.0]])], TABLE)
    np.testing.assert_array_equal(check_and_parse_columns(inputs, TABLE), np.array([[39.5, 2], [40.0, 1]], np.float32))


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (
            [build_column("length", 1.0), build_column("island", b"a", b"b", datatype="BYTES")],
            "different numbers of rows",
        ),
        ([build_column("length", 1.0, 2.0, 3.0)], "has a batch size of 3; at most 2"),
        ([build_column("island", b"\xff", datatype="BYTES")], "not UTF-8"),
        ([build_column("lenght", 1.0)], "element 0"),
    ],
)
def test_invalid_columns_are_rejected(inputs: list[Tensor], reason: str) -> None:
    with pytest.raises(InvalidInferRequest) as raised:
        check_and_parse_columns(inputs, TABLE)
    assert reason in raised.value.detail
