"""From a built-in dataset's own form to the packed one, with the report and the contact sheet."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets import builtin
from core.datasets.definition import Chunk, DatasetFacts
from core.datasets.image_preview import write_preview
from core.datasets.import_report import ReportBuilder
from core.datasets.packed import PackedMeta
from core.datasets.packed_writer import PackedWriter
from core.datasets.tables.columns import Table
from core.datasets.tables.preview import write_table_preview
from core.datasets.tables.writer import TableSplit, write_table
from core.errors import CorruptFile


def pack_builtin(
    name: str, options: Mapping[str, Any], datasets_dir: Path, out: Path
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack a built-in dataset into the fresh folder `out`; returns its meta and the report.

    Raises:
        UnknownDataset: no built-in dataset has that name.
        pydantic.ValidationError: the options are wrong.
        Corrupt: its files are missing or damaged.
    """
    dataset = builtin.get(name)
    parsed = dataset.parse(options)
    if missing := dataset.missing_files(datasets_dir, parsed):
        raise CorruptFile(f"Files of {name} are missing: {', '.join(missing)}. {dataset.help_text}", missing=missing)
    facts = dataset.facts(parsed, datasets_dir)
    report = ReportBuilder(facts.task, facts.classes)
    if dataset.rows is not None and facts.table is not None:
        splits = dataset.rows(datasets_dir, parsed)
        meta = write_table(out, facts.table, facts.task, facts.classes, facts.num_outputs, splits)
        add_rows(report, facts.table, splits)
        write_table_preview(out)
        return meta, report.finish(meta)
    meta = write(out, facts, dataset.chunks(datasets_dir, parsed), report)
    write_preview(out)
    return meta, report.finish(meta)


def write(
    out: Path,
    facts: DatasetFacts,
    chunks: Iterable[Chunk],
    report: ReportBuilder,
    *,
    resize: str = "stretch",
    weighted: bool = False,
) -> PackedMeta:
    """Write chunks into the fresh folder `out`, told to `report` as they pass; if `weighted`, all have weights."""
    writer = PackedWriter(
        out,
        task=facts.task,
        classes=facts.classes,
        num_outputs=facts.num_outputs,
        image_shape=facts.image_shape,
        resize=resize,
        weighted=weighted,
    )
    try:
        for chunk in chunks:
            report.add(chunk)
            if len(chunk.names):
                writer.append(chunk.split, chunk.images, chunk.targets, chunk.names, chunk.weights)
        return writer.finish()
    except BaseException:
        writer.abort()
        raise


def add_rows(report: ReportBuilder, table: Table, splits: Mapping[str, TableSplit]) -> None:
    """Tell a report of a table's rows; of windows, which overlap anyhow, only the number."""
    num_before = 0
    for name, split in splits.items():
        count = len(split.targets)
        seen = split.rows if table.window is None else np.arange(num_before, num_before + count)
        report.add(Chunk(name, seen, split.targets, split.names))
        num_before += count
