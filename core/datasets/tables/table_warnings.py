"""Builds the warnings of a table: ignored columns, and numbers that lose their differences as 32-bit numbers."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import numpy as np

from core.datasets.tables.column_profile import MAX_DISTINCT, ColumnProfile, parse_number
from core.datasets.tables.column_roles import EXCLUDED, TableSchema
from core.datasets.tables.csv_dialect import DecimalCommas
from core.datasets.tables.writer import TableSplit
from core.spec.error_pointers import shorten_name

_MAX_NAMES = 500  # names in one warning
_MAX_SAMPLED_ROWS = 1_000_000


def list_warnings(
    profiles: Sequence[ColumnProfile],
    schema: TableSchema,
    splits: Mapping[str, TableSplit],
    commas: DecimalCommas,
) -> list[str]:
    """Return the warnings of a table, which the dataset version shows."""
    return [
        *_list_ignored_columns(schema),
        *_list_equal_numbers(profiles, schema, splits),
        *_list_decimal_points(profiles, commas),
    ]


def _list_ignored_columns(schema: TableSchema) -> Iterator[str]:
    names_by_reason: dict[str, list[str]] = {}
    for name, reason in schema.ignored.items():
        if name not in (schema.weight, schema.group, schema.split):
            names_by_reason.setdefault(reason, []).append(name)
    for reason, names in names_by_reason.items():
        text = "is excluded by the options" if reason == EXCLUDED else reason
        if len(names) == 1:
            yield f"The column {_format_names(names)} is ignored: it {text}."
        else:
            yield f"The columns {_format_names(names)} are ignored. Each of them {text}."


def _list_equal_numbers(
    profiles: Sequence[ColumnProfile], schema: TableSchema, splits: Mapping[str, TableSplit]
) -> Iterator[str]:
    columns = schema.table.columns
    positions = {column.name: place for place, column in enumerate(columns) if column.categories is None}
    numbers = {*positions, *(schema.table.targets if schema.task == "regression" else ())}
    rows = splits["train"].rows[:_MAX_SAMPLED_ROWS]
    for profile in profiles:
        if profile.name not in numbers:
            continue
        position = positions.get(profile.name)
        num_distinct, num_float32 = (
            _count_distinct(profile.counts)
            if profile.counts is not None
            else (MAX_DISTINCT, MAX_DISTINCT if position is None else len(np.unique(rows[..., position])))
        )
        if num_distinct < 2 or num_float32 * 2 > num_distinct:
            continue
        quantity = f"{'more than ' if profile.counts is None else ''}{num_distinct} different numbers"
        result = "all of them are equal" if num_float32 == 1 else f"only {num_float32} of them differ"
        yield (
            f"The column {shorten_name(profile.name)!r} has {quantity}; as 32-bit numbers, {result}. Subtract a "
            "constant such as the smallest number, or add the column to `ignore` or `categorical`."
        )


def _count_distinct(texts: Mapping[str, int]) -> tuple[int, int]:
    """Return the number of distinct numbers, exactly and as 32-bit numbers."""
    numbers = {text: number for text in texts if (number := parse_number(text)) is not None}
    with np.errstate(over="ignore"):
        num_float32 = len(np.unique(np.fromiter(numbers.values(), np.float64, len(numbers)).astype(np.float32)))
    if num_float32 * 2 > len(numbers):
        return len(numbers), num_float32
    return len(set(map(Decimal, numbers))), num_float32


def _list_decimal_points(profiles: Sequence[ColumnProfile], commas: DecimalCommas) -> Iterator[str]:
    names = [profiles[position].name for position in sorted(commas.point_columns)]
    if names:
        yield (
            f"Numbers have a decimal comma in other columns, but a decimal point in {_format_names(names)}. If the "
            "points separate thousands, remove them."
        )


def _format_names(names: Sequence[str]) -> str:
    text = ", ".join(repr(shorten_name(name)) for name in names[:_MAX_NAMES])
    return text if len(names) <= _MAX_NAMES else f"{text} and {len(names) - _MAX_NAMES} others"
