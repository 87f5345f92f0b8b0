"""Converts an uploaded CSV table to the packed form."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.archives.limits import UploadLimits
from core.datasets.columns import Rows, is_missing
from core.datasets.import_report import ReportBuilder
from core.datasets.ingest.builtin import add_rows_to_report
from core.datasets.ingest.table_source import open_csv
from core.datasets.packed import PackedMeta, Targets, Weights
from core.datasets.sample_groups import summarize_groups
from core.datasets.tables import sample_weights
from core.datasets.tables.column_profile import ColumnProfile, profile_columns
from core.datasets.tables.column_roles import TableSchema, infer_schema
from core.datasets.tables.csv_dialect import DecimalCommas, find_decimal_commas
from core.datasets.tables.csv_file import CsvFile
from core.datasets.tables.preview import write_table_preview
from core.datasets.tables.row_parser import ParsedRows, parse_block
from core.datasets.tables.row_splits import divide_rows
from core.datasets.tables.table_options import TableOptions
from core.datasets.tables.table_warnings import list_warnings
from core.datasets.tables.time_windows import make_windows
from core.datasets.tables.writer import TableSplit, write_table
from core.errors import InvalidTable

_NUMBER_BYTES = 4


def pack_table(
    path: Path, out: Path, limits: UploadLimits, options: Mapping[str, Any]
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack a CSV file into the new folder `out`. Return the metadata and the report.

    Raises:
        InvalidTable: the table cannot be read with `options`. The error contains the line and column, if any.
        pydantic.ValidationError: the options are invalid.
    """
    parsed = TableOptions.model_validate(dict(options))
    file = open_csv(path, parsed, limits)
    commas = _find_commas(file, parsed)
    profiles = profile_columns(file.header, file.read_blocks(commas), parsed.missing_values)
    if not profiles[0].num_rows:
        raise InvalidTable("The table has a header, but no rows.", code="table_empty")
    schema = infer_schema(profiles, parsed)
    parsed_rows = _parse_rows(file, commas, schema, max_bytes=limits.max_packed_bytes)
    if schema.table.window is None:
        weights = None if schema.weight is None else parsed_rows.weights
        splits = divide_rows(parsed_rows, _cast_targets(parsed_rows.targets, schema), weights, schema)
        _check_weights(splits["train"].weights, schema)
    else:
        splits = make_windows(
            schema.table, parsed_rows.rows, parsed_rows.targets, parsed_rows.lines, parsed.split_shares
        )
    meta = write_table(out, schema.table, schema.task, schema.classes, schema.num_outputs, splits)
    write_table_preview(out)
    report = build_report(meta, splits, profiles, schema, parsed_rows.num_dropped)
    return meta, report | {"warnings": list_warnings(profiles, schema, splits, commas)}


def _find_commas(file: CsvFile, options: TableOptions) -> DecimalCommas:
    """Return the columns with decimal commas. They are searched only if the options or the delimiter suggest them."""
    decimal = options.decimal
    if decimal == "." or (decimal is None and file.delimiter != ";"):
        return DecimalCommas()
    numeric, texts = (
        [place for place, name in enumerate(file.header) if name in names]
        for names in (options.numeric, (*options.ignore, *options.categorical))
    )
    return find_decimal_commas(
        file.read_blocks(),
        len(file.header),
        decimal,
        is_missing=partial(is_missing, missing_values=options.missing_values),
        numeric=numeric,
        texts=texts,
    )


def build_report(
    meta: PackedMeta,
    splits: Mapping[str, TableSplit],
    profiles: Sequence[ColumnProfile],
    schema: TableSchema,
    num_dropped: int,
) -> dict[str, Any]:
    """Return the import report as JSON values."""
    builder = ReportBuilder(meta.task, meta.classes)
    add_rows_to_report(builder, schema.table, splits)
    columns = [_describe_column(profile, schema) for profile in profiles]
    weights = splits["train"].weights
    summary: dict[str, Any] = {} if weights is None else {"weights": sample_weights.summarize_weights(weights)}
    if splits["train"].groups is not None:
        numbers = np.concatenate([split.groups for split in splits.values() if split.groups is not None])
        summary["groups"] = summarize_groups(numbers)
    return builder.build_report(meta, columns=columns, num_dropped=num_dropped, **summary)


def _check_weights(train_weights: Weights | None, schema: TableSchema) -> None:
    if train_weights is not None and not train_weights.any():
        raise InvalidTable(
            f"Column {schema.weight!r}: every weight is 0.",
            code="table_bad_weight",
            column=schema.weight,
            hint="Give at least one row a weight above 0.",
        )


def _describe_column(profile: ColumnProfile, schema: TableSchema) -> dict[str, Any]:
    column = next((column for column in schema.table.columns if column.name == profile.name), None)
    role = "ignored" if column is None else "numeric" if column.categories is None else "categorical"
    if profile.name in schema.table.targets:
        role = "target"
    reserved = {schema.weight: "weight", schema.group: "group", schema.split: "split"}
    return {
        "name": profile.name,
        "role": reserved.get(profile.name, role),
        "num_missing": profile.num_missing,
        "num_categories": 0 if column is None else column.cardinality,
        "reason": None if profile.name in reserved else schema.ignored.get(profile.name),
    }


def _parse_rows(file: CsvFile, commas: DecimalCommas, schema: TableSchema, *, max_bytes: int) -> ParsedRows:
    is_series = schema.table.window is not None
    parts: list[ParsedRows] = []
    num_bytes = 0
    for block in file.read_blocks(commas):
        parts.append(parse_block(block, file.header, schema))
        num_bytes += parts[-1].rows.size * _NUMBER_BYTES
        if num_bytes > max_bytes:
            raise InvalidTable(f"The rows need more than {max_bytes} bytes as 32-bit numbers.", code="table_too_large")
    rows, targets, lines, weights, groups, splits = (np.concatenate([part[i] for part in parts]) for i in range(6))
    if is_series:
        return ParsedRows(*_fill_gaps(rows, targets, lines, schema), weights, groups, splits, 0)
    num_dropped = sum(part.num_dropped for part in parts)
    if len(rows) < 2:
        raise InvalidTable(
            f"The table has {len(rows)} complete rows; {num_dropped} rows with missing values were dropped. At least 2 "
            "complete rows are required.",
            code="table_too_few_rows",
            hint="Set missing=impute, or ignore columns that are mostly empty.",
        )
    return ParsedRows(rows, targets, lines, weights, groups, splits, num_dropped)


def _cast_targets(targets: NDArray[np.float64], schema: TableSchema) -> Targets:
    return targets[:, 0].astype(np.int64) if schema.task == "classification" else targets.astype(np.float32)


def _fill_gaps(
    rows: Rows, targets: NDArray[np.float64], lines: NDArray[np.int64], schema: TableSchema
) -> tuple[Rows, NDArray[np.float64], NDArray[np.int64]]:
    """Replace missing values of a series with the previous value. Raise InvalidTable if `missing` is `drop`."""
    names = [*schema.table.column_names, *schema.table.targets]
    both = np.concatenate([rows.astype(np.float64), targets], axis=1)
    for name, column in zip(names, both.T, strict=True):
        gaps = np.flatnonzero(np.isnan(column))
        if len(gaps) and schema.table.missing == "drop":
            raise _make_gap_error(
                name, int(lines[gaps[0]]), "a series must be complete; `missing=impute` repeats the previous value"
            )
        if len(gaps) and gaps[0] == 0:
            raise _make_gap_error(name, int(lines[0]), "the first row of a series must be complete")
        column[:] = column[np.maximum.accumulate(np.where(np.isnan(column), 0, np.arange(len(column))))]
    return both[:, : rows.shape[1]].astype(np.float32), both[:, rows.shape[1] :], lines


def _make_gap_error(name: str, line: int, reason: str) -> InvalidTable:
    return InvalidTable(
        f"Line {line}, column {name!r}: the value is missing; {reason}.", code="table_gap", line=line, column=name
    )
