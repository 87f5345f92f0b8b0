"""Column roles from options or values."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.datasets.tables.column_profile import profile_columns
from core.datasets.tables.column_roles import TableSchema, check_column_names, infer_schema
from core.datasets.tables.csv_file import RowBlock
from core.datasets.tables.table_options import TableOptions
from core.errors import InvalidTable

COLUMNS = {
    "size": tuple(str(i / 2) for i in range(40)),
    "name": tuple(f"n{i}" for i in range(40)),
    "count": tuple(str(i % 4) for i in range(40)),
    "kind": ("cat", "dog") * 20,
    "empty": ("",) * 40,
}


def infer(**options: Any) -> TableSchema:
    block = RowBlock(list(range(2, 42)), list(COLUMNS.values()))
    return infer_schema(profile_columns(list(COLUMNS), [block]), TableOptions(**options))


def test_columns_are_numeric_categorical_or_ignored() -> None:
    schema = infer(target=["kind"])
    assert {column.name: column.categories for column in schema.table.columns} == {"size": None, "count": None}
    assert set(schema.ignored) == {"name", "empty"}
    assert (schema.task, schema.classes, schema.num_outputs) == ("classification", ("cat", "dog"), 2)


@pytest.mark.parametrize(
    ("options", "task", "classes"),
    [
        ({"target": ["size"]}, "regression", ("size",)),
        ({"target": ["count"]}, "classification", ("0", "1", "2", "3")),
        ({"target": ["count"], "task": "regression"}, "regression", ("count",)),
        ({"target": ["size", "count"]}, "regression", ("size", "count")),
        ({"target": ["kind"], "task": "binary"}, "binary", ("cat", "dog")),
        ({"target": ["count"], "window": 3, "horizon": 2}, "regression", ("count+1", "count+2")),
    ],
)
def test_the_task_is_inferred_from_the_target(options: dict[str, Any], task: str, classes: tuple[str, ...]) -> None:
    schema = infer(**options)
    assert (schema.task, schema.classes) == (task, classes)
    assert schema.num_outputs == (1 if task == "binary" else len(classes))


def test_the_default_target_is_the_last_column_that_is_not_ignored() -> None:
    assert infer(ignore=["empty"], weight="size").table.targets == ("kind",)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"target": ["empty"]}, "table_bad_target", "target column 'empty' has no values"),
        ({"target": ["kind"], "columns": ["empty"]}, "table_bad_column", "'empty' cannot be used: it has no values"),
        ({"target": ["kind"], "ignore": ["size", "name", "count"]}, "table_no_columns", "no usable input column"),
        ({"target": ["kind"], "window": 2}, "table_bad_target", "is not numeric"),
        ({"target": ["count"], "task": "binary"}, "table_bad_target", "4 distinct values; the task 'binary' needs"),
    ],
)
def test_an_unusable_column_is_rejected(options: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(InvalidTable, match=message) as raised:
        infer(**options)
    assert raised.value.extra["code"] == code


def test_all_unknown_and_contradicting_names_are_listed() -> None:
    options = TableOptions(target=("knd",), numeric=("size",), categorical=("size",))
    with pytest.raises(InvalidTable) as raised:
        check_column_names(options, list(COLUMNS))
    assert [pointer for pointer, _ in raised.value.errors] == ["?target", "?numeric"]


def test_targets_of_a_window_can_be_input_columns() -> None:
    check_column_names(TableOptions(target=("size",), columns=("size",), window=3), list(COLUMNS))


@pytest.mark.parametrize(
    "options",
    [{"horizon": 2}, {"valid_share": 0.1}, {"window": 2, "weight": "size"}, {"window": 2, "task": "binary"}],
)
def test_options_that_need_or_exclude_a_window_are_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="window"):
        TableOptions(**options)
