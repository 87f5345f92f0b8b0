"""Divides the rows of a table by its column of splits, and numbers the groups of the rows."""

import numpy as np

from core.datasets.columns import is_missing
from core.datasets.packed import SPLITS, Targets, Weights
from core.datasets.sample_groups import find_shared_group, number_groups
from core.datasets.tables.column_roles import TableSchema
from core.datasets.tables.row_parser import ParsedRows
from core.datasets.tables.writer import TableSplit
from core.errors import InvalidTable


def divide_rows(
    parsed: ParsedRows, targets: Targets, weights: Weights | None, schema: TableSchema
) -> dict[str, TableSplit]:
    """Return the rows of each split. All rows are training rows if the table has no column of splits.

    Args:
        parsed: the rows of the table.
        targets: the targets of the rows: int64 for classification, otherwise float32.
        weights: the weights of the rows, or None.
        schema: the roles of the columns.

    Raises:
        InvalidTable: there are no training rows, a class has no training rows, or a group is in two splits.
    """
    groups = None
    if schema.group is not None:
        missing_values = schema.table.missing_values
        groups = number_groups([None if is_missing(name, missing_values) else name for name in parsed.groups])
    splits: dict[str, TableSplit] = {}
    for name in SPLITS:
        places = np.flatnonzero(parsed.splits == name)
        if len(places):
            splits[name] = TableSplit(
                parsed.rows[places],
                targets[places],
                [str(line) for line in parsed.lines[places]],
                None if weights is None else weights[places],
                None if groups is None else groups[places],
            )
    _check_training_rows(splits, schema)
    _check_groups(splits, parsed, schema)
    return splits


def _check_training_rows(splits: dict[str, TableSplit], schema: TableSchema) -> None:
    column = schema.split or ""
    if "train" not in splits:
        raise InvalidTable(f"Column {column!r}: no row is in the split train.", code="table_bad_split", column=column)
    if schema.task == "regression" or len(splits) == 1:
        return
    trained = set(np.unique(splits["train"].targets).astype(int).tolist())
    classes = {int(label) for split in splits.values() for label in np.unique(split.targets)}
    if missing := sorted(classes - trained):
        names = ", ".join(repr(schema.classes[label]) for label in missing[:10])
        raise InvalidTable(
            f"Column {column!r}: these classes have no training rows: {names}.", code="table_bad_split", column=column
        )


def _check_groups(splits: dict[str, TableSplit], parsed: ParsedRows, schema: TableSchema) -> None:
    groups = {name: split.groups for name, split in splits.items() if split.groups is not None}
    shared = find_shared_group(groups) if len(groups) > 1 else None
    if shared is not None:
        number, first, second = shared
        name = str(parsed.groups[number])[:100]
        raise InvalidTable(
            f"Column {schema.group!r}: the group {name!r} is in the splits {first} and {second}.",
            code="table_bad_group",
            column=schema.group,
            hint="Put all rows of a group into one split, or leave out `group`.",
        )
