"""Encodes the rows of a table as CSV files: `train.csv`, `valid.csv` and `test.csv`, or `series.csv`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.csv_output import escape_cell
from core.datasets.columns import Column, Table
from core.datasets.export.image_files import format_float, format_lines
from core.datasets.export.zip_stream import ZipStream
from core.datasets.packed import PackedDataset, PackedMeta, PackedSplit
from core.datasets.tables.column_profile import parse_number

SERIES_FILE = "series.csv"
_CHUNK_ROWS = 4096
Texts = list[str]


def encode_tables(stream: ZipStream, packed: PackedDataset, table: Table) -> Iterator[bytes]:
    """Yield the entries of a CSV file for each split, or of one CSV file for a time series.

    The columns are the inputs, the targets and, if the samples have weights, the weight. Texts that a spreadsheet would
    evaluate as formulas are escaped; an import removes the escapes.
    """
    if table.window is not None:
        yield from _encode_series(stream, packed, table)
        return
    header = build_header(packed.meta, table)
    for name in packed.meta.splits:
        split = packed.read_split(name)
        yield stream.start_entry(f"{name}.csv")
        yield stream.encode_chunk(format_lines([header]))
        for start in range(0, len(split.names), _CHUNK_ROWS):
            columns = _format_columns(split, slice(start, start + _CHUNK_ROWS), packed.meta, table)
            yield stream.encode_chunk(format_lines(zip(*columns, strict=True)))
        yield stream.end_entry()


def build_header(meta: PackedMeta, table: Table) -> Texts:
    """Return the header of the CSV files."""
    names = [*table.column_names, *(name for name in table.targets if name not in table.column_names)]
    if meta.weighted:
        names.append(get_weight_column(table))
    return [escape_text(name) for name in names]


def get_weight_column(table: Table) -> str:
    """Return a name for the column of weights that no other column has."""
    name = "weight"
    while name in table.all_names:
        name += "_"
    return name


def build_import_options(packed: PackedDataset, table: Table) -> dict[str, Any]:
    """Return the options with which an import of the CSV file gives the same dataset."""
    meta = packed.meta
    options: dict[str, Any] = {
        "target": list(table.targets),
        "numeric": [column.name for column in table.columns if column.categories is None],
        "categorical": [column.name for column in table.columns if column.categories is not None],
        "missing": table.missing,
        "task": meta.task,
        "encoding": "utf-8",
        "delimiter": ",",
    }
    if table.missing_values is not None:
        options["missing_values"] = list(table.missing_values)
    if meta.weighted:
        options["weight"] = get_weight_column(table)
    if table.window is not None:
        lengths = {name: len(packed.read_series(name)) for name in meta.splits}
        num_rows = sum(lengths.values())
        shares = {f"{name}_share": lengths[name] / num_rows for name in ("valid", "test") if name in lengths}
        options |= {"columns": table.column_names, "window": table.window, "horizon": table.horizon} | shares
    return options


def escape_text(text: str) -> str:
    """Return a text that no spreadsheet evaluates. Numbers such as -1 remain numbers."""
    return text if parse_number(text) is not None else str(escape_cell(text))


def _format_columns(split: PackedSplit, part: slice, meta: PackedMeta, table: Table) -> Iterator[Texts]:
    rows = np.asarray(split.images[part])
    for column, values in zip(table.columns, rows.T, strict=True):
        yield _format_values(column, values)
    targets = np.asarray(split.targets[part]).reshape(len(rows), -1)
    if meta.task == "regression":
        yield from ([format_float(value) for value in values] for values in targets.T)
    else:
        texts = [escape_text(name) for name in meta.classes]
        yield [texts[int(label)] for label in targets[:, 0]]
    if split.weights is not None:
        yield [format_float(value) for value in split.weights[part]]


def _format_values(column: Column, values: NDArray[np.float32]) -> Texts:
    if column.categories is None:
        return [format_float(value) for value in values]
    texts = ["", *map(escape_text, column.categories)]
    return [texts[int(code)] for code in values]


def _encode_series(stream: ZipStream, packed: PackedDataset, table: Table) -> Iterator[bytes]:
    """Yield the rows of all splits, which follow each other.

    The values of a target that is not an input column are stored only from the first predicted row of each split.
    """
    yield stream.start_entry(SERIES_FILE)
    yield stream.encode_chunk(format_lines([build_header(packed.meta, table)]))
    extra = [at for at, name in enumerate(table.targets) if name not in table.column_names]
    for name in packed.meta.splits:
        rows, targets = packed.read_series(name), packed.read_split(name).targets
        future = _restore_targets(targets, table, len(rows))[:, extra]
        for start in range(0, len(rows), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            values = np.concatenate([rows[part], future[part]], axis=1)
            yield stream.encode_chunk(format_lines([map(format_float, row) for row in values]))
    yield stream.end_entry()


def _restore_targets(targets: NDArray[Any], table: Table, num_rows: int) -> NDArray[np.float32]:
    """Return the targets of each row, float32 (L, K); NaN for the rows of the first window, which are not predicted."""
    by_step = np.asarray(targets, np.float32).reshape(len(targets), table.horizon, len(table.targets))
    restored = np.full((num_rows, len(table.targets)), np.nan, np.float32)
    window = table.window or 1
    for step in range(table.horizon):
        restored[window + step : window + step + len(targets)] = by_step[:, step]
    return restored
