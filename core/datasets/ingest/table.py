"""From a CSV file to the packed form: a first look at its columns, then their values as numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.archives import uploads
from core.datasets.archives.limits import Limits
from core.datasets.archives.uploads import Kind
from core.datasets.import_report import ReportBuilder
from core.datasets.ingest.archive import UploadOptions
from core.datasets.ingest.builtin import add_rows
from core.datasets.packed import PackedMeta, Targets, Weights
from core.datasets.tables import sample_weights
from core.datasets.tables.column_profile import Profile, profile_columns, to_number
from core.datasets.tables.column_roles import TableOptions, TableSchema, check_names, read_roles
from core.datasets.tables.columns import LARGEST, UNKNOWN, Column, Rows, canonical, is_missing
from core.datasets.tables.csv_file import Block, CsvFile
from core.datasets.tables.preview import write_table_preview
from core.datasets.tables.time_windows import make_windows
from core.datasets.tables.writer import TableSplit, write_table
from core.errors import InvalidArchive, InvalidTable
from core.spec.base import Spec

_NUMBER_BYTES = 4
_NAMES = ("an archive of pictures", "a table")


class ParsedRows(NamedTuple):
    """Rows that were kept, float32 (N, F); their targets, float64 (N, K); the lines on which they end.

    Weights are float32 (N,), all of them 1 where no column tells any.
    """

    rows: Rows
    targets: NDArray[np.float64]
    lines: NDArray[np.int64]
    weights: Weights
    num_dropped: int


def check_upload(path: Path, limits: Limits, options: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Refuse at the door what a quick look shows; return the kind of the file and its options with every default.

    Args:
        path: of an archive of pictures, or of a table.
        limits: of archives.
        options: those of pictures, or of a table; with `is_table`, it is one even if it has a single column.

    Raises:
        InvalidArchive: it is neither, or the other of what the options are for.
        InvalidTable: the header of a table does not fit the options.
    """
    asked = {name: value for name, value in options.items() if name != "is_table"}
    kind = _kind(path, limits, is_table=bool(options.get("is_table")))
    schema: type[Spec] = TableOptions if kind == "table" else UploadOptions
    wrong = [(f"?{name}", f"is not for {_NAMES[kind == 'table']}") for name in asked if name not in schema.model_fields]
    if wrong:
        raise InvalidArchive(f"{wrong[0][0]}: {wrong[0][1]}", code="wrong_options", errors=wrong)
    parsed = schema.model_validate(asked)
    if isinstance(parsed, TableOptions):
        check_names(parsed, CsvFile(path, encoding=parsed.encoding, delimiter=parsed.delimiter).header)
    return kind, parsed.model_dump(mode="json")


def _kind(path: Path, limits: Limits, *, is_table: bool) -> Kind:
    try:
        return uploads.inspect_upload(path, limits)
    except InvalidArchive as error:
        if is_table and error.facts.get("code") == "archive_unknown":
            return "table"
        raise


def pack_table(path: Path, out: Path, limits: Limits, options: Mapping[str, Any]) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack a CSV file into the fresh folder `out`; returns its meta and the report.

    Raises:
        InvalidTable: it cannot be read as asked; line and column are named.
        pydantic.ValidationError: the options are wrong.
    """
    parsed = TableOptions.model_validate(dict(options))
    file = CsvFile(path, encoding=parsed.encoding, delimiter=parsed.delimiter)
    profiles = profile_columns(file.header, file.blocks())
    if not profiles[0].num_rows:
        raise InvalidTable("The table has a header and no rows.", code="table_empty")
    reading = read_roles(profiles, parsed)
    read = _read(file, reading, max_bytes=limits.max_packed_bytes)
    if reading.table.window is None:
        names = [str(line) for line in read.lines]
        splits = {"train": TableSplit(read.rows, _typed(read.targets, reading), names, _checked(read, reading))}
    else:
        shares = (parsed.valid_share or 0.2, parsed.test_share or 0.0)
        splits = make_windows(reading.table, read.rows, read.targets, read.lines, shares)
    meta = write_table(out, reading.table, reading.task, reading.classes, reading.num_outputs, splits)
    write_table_preview(out)
    return meta, report_of(meta, splits, profiles, reading, read.num_dropped)


def report_of(
    meta: PackedMeta,
    splits: Mapping[str, TableSplit],
    profiles: Sequence[Profile],
    reading: TableSchema,
    num_dropped: int,
) -> dict[str, Any]:
    """What the import found, as JSON values."""
    builder = ReportBuilder(meta.task, meta.classes)
    add_rows(builder, reading.table, splits)
    columns = [_told(profile, reading) for profile in profiles]
    told = splits["train"].weights
    summary = {} if told is None else {"weights": sample_weights.to_json(told)}
    return builder.finish(meta, columns=columns, num_dropped=num_dropped, **summary)


def _checked(read: ParsedRows, reading: TableSchema) -> Weights | None:
    if reading.weight is None:
        return None
    if not read.weights.any():
        raise InvalidTable(
            f"Column {reading.weight!r}: every weight is 0.",
            code="table_bad_weight",
            column=reading.weight,
            hint="Give the rows that are to be learnt from a weight above 0.",
        )
    return read.weights


def _told(profile: Profile, reading: TableSchema) -> dict[str, Any]:
    read = next((column for column in reading.table.columns if column.name == profile.name), None)
    role = "ignored" if read is None else "numeric" if read.categories is None else "categorical"
    is_weight = profile.name == reading.weight
    return {
        "name": profile.name,
        "role": "target" if profile.name in reading.table.targets else "weight" if is_weight else role,
        "num_missing": profile.num_missing,
        "num_categories": 0 if read is None else read.cardinality,
        "reason": None if is_weight else reading.ignored.get(profile.name),
    }


def _read(file: CsvFile, reading: TableSchema, *, max_bytes: int) -> ParsedRows:
    is_series = reading.table.window is not None
    parts: list[ParsedRows] = []
    num_bytes = 0
    for block in file.blocks():
        parts.append(_encoded(block, file.header, reading))
        num_bytes += parts[-1].rows.size * _NUMBER_BYTES
        if num_bytes > max_bytes:
            raise InvalidTable(f"The table takes more than {max_bytes} bytes as numbers.", code="table_too_large")
    rows, targets, lines, told = (np.concatenate([part[i] for part in parts]) for i in range(4))
    if is_series:
        return ParsedRows(*_carried(rows, targets, lines, reading), told, 0)
    num_dropped = sum(part.num_dropped for part in parts)
    if len(rows) < 2:
        raise InvalidTable(
            f"{len(rows)} rows are whole; {num_dropped} with missing values were left out.",
            code="table_too_few_rows",
            hint="Ask for missing=impute, or ignore columns that are mostly empty.",
        )
    return ParsedRows(rows, targets, lines, told, num_dropped)


def _encoded(block: Block, header: Sequence[str], reading: TableSchema) -> ParsedRows:
    by_name = dict(zip(header, block.columns, strict=True))
    lines = np.asarray(block.lines, np.int64)
    columns = [_codes(column, by_name[column.name], block.lines) for column in reading.table.columns]
    rows = np.stack(columns, axis=1)
    targets = np.stack([_target(name, by_name[name], block.lines, reading) for name in reading.table.targets], axis=1)
    told = np.ones(len(lines), np.float32)
    if reading.table.window is not None:
        return ParsedRows(rows.astype(np.float32), targets, lines, told, 0)
    if reading.weight is not None:
        told = _row_weights(reading.weight, by_name[reading.weight], block.lines)
    kept = ~np.isnan(targets).any(axis=1)
    if reading.table.missing == "drop":
        is_category = np.asarray([column.categories is not None for column in reading.table.columns])
        kept &= ~(np.isnan(rows) | (is_category & (rows == UNKNOWN))).any(axis=1)
    return ParsedRows(rows[kept].astype(np.float32), targets[kept], lines[kept], told[kept], int((~kept).sum()))


def _row_weights(name: str, texts: Sequence[str], lines: Sequence[int]) -> Weights:
    faults = {text: why for text in set(texts) if (why := sample_weights.validation_error(text))}
    if faults:
        line, text = next((line, text) for line, text in zip(lines, texts, strict=True) if text in faults)
        raise InvalidTable(
            f"Line {line}, column {name!r}: the weight {text[:40]!r} {faults[text]}.",
            code="table_bad_weight",
            line=line,
            column=name,
            hint="A weight is a number from 0; 0 leaves a row out of the loss.",
        )
    return np.asarray(texts, np.float32)


def _codes(column: Column, values: Sequence[str], lines: Sequence[int]) -> NDArray[np.float64]:
    if column.categories is None:
        return _numbers(column.name, values, lines)
    code = {category: number for number, category in enumerate(column.categories, start=1)}
    of = {text: UNKNOWN if is_missing(text) else code[canonical(text)] for text in set(values)}
    return np.asarray([of[text] for text in values], np.float64)


def _target(name: str, values: Sequence[str], lines: Sequence[int], reading: TableSchema) -> NDArray[np.float64]:
    """Classes by their place from 0, or numbers; NaN where missing."""
    if reading.task == "regression":
        return _numbers(name, values, lines)
    place = {label: float(number) for number, label in enumerate(reading.classes)}
    of = {text: np.nan if is_missing(text) else place[canonical(text)] for text in set(values)}
    return np.asarray([of[text] for text in values], np.float64)


def _numbers(name: str, values: Sequence[str], lines: Sequence[int]) -> NDArray[np.float64]:
    read = {text: np.nan if is_missing(text) else to_number(text) for text in set(values)}
    bad = {text for text, number in read.items() if number is None or abs(number) > LARGEST}
    if bad:
        line, text = next((line, text) for line, text in zip(lines, values, strict=True) if text in bad)
        raise InvalidTable(
            f"Line {line}, column {name!r}: {text[:40]!r} is no finite number of 32 bits.",
            code="table_bad_value",
            line=line,
            column=name,
            hint="Correct it, leave the field empty, or name the column in `categorical` or `ignore`.",
        )
    return np.asarray([read[text] for text in values], np.float64)


def _typed(targets: NDArray[np.float64], reading: TableSchema) -> Targets:
    return targets[:, 0].astype(np.int64) if reading.task == "classification" else targets.astype(np.float32)


def _carried(
    rows: Rows, targets: NDArray[np.float64], lines: NDArray[np.int64], reading: TableSchema
) -> tuple[Rows, NDArray[np.float64], NDArray[np.int64]]:
    """Fill gaps of a series with the last value before, if asked to; what comes later must not be known earlier."""
    names = [*reading.table.names, *reading.table.targets]
    both = np.concatenate([rows.astype(np.float64), targets], axis=1)
    for name, column in zip(names, both.T, strict=True):
        gaps = np.flatnonzero(np.isnan(column))
        if len(gaps) and reading.table.missing == "drop":
            raise _gap(name, int(lines[gaps[0]]), "a series must have no gaps; `missing=impute` takes the value before")
        if len(gaps) and gaps[0] == 0:
            raise _gap(name, int(lines[0]), "the series begins with it, and there is no value before")
        column[:] = column[np.maximum.accumulate(np.where(np.isnan(column), 0, np.arange(len(column))))]
    return both[:, : rows.shape[1]].astype(np.float32), both[:, rows.shape[1] :], lines


def _gap(name: str, line: int, why: str) -> InvalidTable:
    return InvalidTable(
        f"Line {line}, column {name!r}: the value is missing; {why}.", code="table_gap", line=line, column=name
    )
