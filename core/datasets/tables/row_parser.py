"""Parses the rows of a CSV file as numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.columns import MAX_FLOAT32, UNKNOWN_CATEGORY, Column, Rows, is_missing, normalize_category
from core.datasets.packed import Weights
from core.datasets.split_names import is_plain_split_name, parse_split_name
from core.datasets.tables import sample_weights
from core.datasets.tables.column_profile import parse_number
from core.datasets.tables.column_roles import TableSchema
from core.datasets.tables.csv_file import RowBlock
from core.errors import InvalidTable

MissingValues = tuple[str, ...] | None


class ParsedRows(NamedTuple):
    """The rows of a table as numbers.

    Attributes:
        rows: float32 (N, F).
        targets: float64 (N, K).
        lines: int64 (N,), the number of the line in which each row ends.
        weights: float32 (N,), all 1 if the table has no weights.
        groups: strings (N,), the names of the groups, all empty if the table has no groups.
        splits: strings (N,): `train`, `valid` or `test`, all `train` if the table has no splits.
        num_dropped: the number of rows that were dropped because a value is missing.
    """

    rows: Rows
    targets: NDArray[np.float64]
    lines: NDArray[np.int64]
    weights: Weights
    groups: NDArray[np.object_]
    splits: NDArray[np.object_]
    num_dropped: int


def parse_block(block: RowBlock, header: Sequence[str], schema: TableSchema) -> ParsedRows:
    """Parse a block of rows. Rows of a series are never dropped.

    Raises:
        InvalidTable: a value is not valid for its column. The error contains the line and the column.
    """
    by_name = dict(zip(header, block.columns, strict=True))
    lines = np.asarray(block.lines, np.int64)
    missing_values = schema.table.missing_values
    columns = [
        _parse_column(column, by_name[column.name], block.lines, missing_values) for column in schema.table.columns
    ]
    rows = np.stack(columns, axis=1)
    targets = np.stack(
        [_parse_target(name, by_name[name], block.lines, schema) for name in schema.table.targets], axis=1
    )
    weights = np.ones(len(lines), np.float32)
    groups, splits = np.full(len(lines), "", object), np.full(len(lines), "train", object)
    if schema.table.window is not None:
        return ParsedRows(rows.astype(np.float32), targets, lines, weights, groups, splits, 0)
    if schema.weight is not None:
        weights = _parse_weights(schema.weight, by_name[schema.weight], block.lines)
    if schema.group is not None:
        groups[:] = by_name[schema.group]
    if schema.split is not None:
        splits[:] = _parse_splits(schema.split, by_name[schema.split], block.lines)
    is_retained = ~np.isnan(targets).any(axis=1)
    if schema.table.missing == "drop":
        is_category = np.asarray([column.categories is not None for column in schema.table.columns])
        is_retained &= ~(np.isnan(rows) | (is_category & (rows == UNKNOWN_CATEGORY))).any(axis=1)
    return ParsedRows(
        rows[is_retained].astype(np.float32),
        targets[is_retained],
        lines[is_retained],
        weights[is_retained],
        groups[is_retained],
        splits[is_retained],
        int((~is_retained).sum()),
    )


def _parse_weights(name: str, texts: Sequence[str], lines: Sequence[int]) -> Weights:
    faults = {text: reason for text in set(texts) if (reason := sample_weights.find_weight_fault(text))}
    if faults:
        line, text = next((line, text) for line, text in zip(lines, texts, strict=True) if text in faults)
        raise InvalidTable(
            f"Line {line}, column {name!r}: the weight {text[:40]!r} {faults[text]}.",
            code="table_bad_weight",
            line=line,
            column=name,
            hint="A weight must be a number of at least 0. A weight of 0 excludes a row from the loss.",
        )
    return np.asarray(texts, np.float32)


def _parse_splits(name: str, texts: Sequence[str], lines: Sequence[int]) -> list[str]:
    splits = {text: parse_split_name(text) if is_plain_split_name(text) else None for text in set(texts)}
    if unknown := {text for text, split in splits.items() if split is None}:
        line, text = next((line, text) for line, text in zip(lines, texts, strict=True) if text in unknown)
        raise InvalidTable(
            f"Line {line}, column {name!r}: the split {text[:40]!r} is unknown.",
            code="table_bad_split",
            line=line,
            column=name,
            hint="A split must be train, valid or test, or another common name such as val.",
        )
    return [splits[text] or "" for text in texts]


def _parse_column(
    column: Column, values: Sequence[str], lines: Sequence[int], missing_values: MissingValues
) -> NDArray[np.float64]:
    if column.categories is None:
        return _parse_numbers(column.name, values, lines, missing_values)
    code = {category: number for number, category in enumerate(column.categories, start=1)}
    code_by_text = {
        text: UNKNOWN_CATEGORY if is_missing(text, missing_values) else code[normalize_category(text)]
        for text in set(values)
    }
    return np.asarray([code_by_text[text] for text in values], np.float64)


def _parse_target(name: str, values: Sequence[str], lines: Sequence[int], schema: TableSchema) -> NDArray[np.float64]:
    """Return the class indices, counted from 0, or for regression the numbers. Missing values become NaN."""
    missing_values = schema.table.missing_values
    if schema.task == "regression":
        return _parse_numbers(name, values, lines, missing_values)
    class_index = {label: float(number) for number, label in enumerate(schema.classes)}
    index_by_text = {
        text: np.nan if is_missing(text, missing_values) else class_index[normalize_category(text)]
        for text in set(values)
    }
    return np.asarray([index_by_text[text] for text in values], np.float64)


def _parse_numbers(
    name: str, values: Sequence[str], lines: Sequence[int], missing_values: MissingValues
) -> NDArray[np.float64]:
    number_by_text = {text: np.nan if is_missing(text, missing_values) else parse_number(text) for text in set(values)}
    invalid = {text for text, number in number_by_text.items() if number is None or abs(number) > MAX_FLOAT32}
    if invalid:
        line, text = next((line, text) for line, text in zip(lines, values, strict=True) if text in invalid)
        raise InvalidTable(
            f"Line {line}, column {name!r}: {text[:40]!r} is not a finite 32-bit number.",
            code="table_bad_value",
            line=line,
            column=name,
            hint="Correct the value, leave it empty, or add the column to `categorical` or `ignore`.",
        )
    return np.asarray([number_by_text[text] for text in values], np.float64)
