"""Converts a built-in dataset to the packed form, and creates its import report and preview."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets import builtin
from core.datasets.columns import Table
from core.datasets.definition import DatasetInfo, SampleChunk
from core.datasets.image_preview import write_image_preview
from core.datasets.import_report import ReportBuilder
from core.datasets.near_images import find_near_images
from core.datasets.packed import Images, PackedMeta
from core.datasets.packed_writer import PackedWriter
from core.datasets.sample_groups import Groups, has_groups
from core.datasets.tables.preview import write_table_preview
from core.datasets.tables.writer import TableSplit, write_table
from core.errors import CorruptFile
from core.resizing import STRETCH, ResizePolicy


def pack_builtin(
    name: str, options: Mapping[str, Any], datasets_dir: Path, out: Path
) -> tuple[PackedMeta, dict[str, Any]]:
    """Pack a built-in dataset into the new folder `out`. Return the metadata and the report.

    Raises:
        UnknownDataset: there is no built-in dataset of this name.
        pydantic.ValidationError: the options are invalid.
        CorruptFile: files are missing or damaged.
    """
    dataset = builtin.get_dataset(name)
    parsed = dataset.parse_options(options)
    if missing := dataset.list_missing_files(datasets_dir, parsed):
        raise CorruptFile(f"Files of {name} are missing: {', '.join(missing)}. {dataset.help_text}", missing=missing)
    dataset_info = dataset.get_info(parsed, datasets_dir)
    report = ReportBuilder(dataset_info.task, dataset_info.classes)
    if dataset.read_rows is not None and dataset_info.table is not None:
        splits = dataset.read_rows(datasets_dir, parsed)
        meta = write_table(
            out, dataset_info.table, dataset_info.task, dataset_info.classes, dataset_info.num_outputs, splits
        )
        add_rows_to_report(report, dataset_info.table, splits)
        write_table_preview(out)
        return meta, report.build_report(meta)
    meta = write_chunks(out, dataset_info, dataset.read_chunks(datasets_dir, parsed), report)
    write_image_preview(out)
    return meta, report.build_report(meta)


def write_chunks(
    out: Path,
    dataset_info: DatasetInfo,
    chunks: Iterable[SampleChunk],
    report: ReportBuilder,
    *,
    resize: ResizePolicy = STRETCH,
    weighted: bool = False,
    grouped: bool = False,
) -> PackedMeta:
    """Write chunks into the new folder `out`, and add them and the near-equal images to the report.

    If `weighted`, every chunk must have weights; if `grouped`, every chunk must have groups.
    """
    writer = PackedWriter(
        out,
        task=dataset_info.task,
        classes=dataset_info.classes,
        num_outputs=dataset_info.num_outputs,
        image_shape=dataset_info.image_shape,
        resize=resize,
        weighted=weighted,
        grouped=grouped,
    )
    try:
        for chunk in chunks:
            report.add_chunk(chunk)
            if len(chunk.names):
                writer.append_chunk(chunk.split, chunk.images, chunk.targets, chunk.names, chunk.weights, chunk.groups)
        return writer.finish_dataset(_find_near_groups(writer.finish_splits(), report))
    except BaseException:
        writer.close_files()
        raise


def _find_near_groups(images: Mapping[str, Images], report: ReportBuilder) -> dict[str, Groups]:
    """Return the groups of equal and near-equal images of each split, or {} if no random split can divide a group."""
    near = find_near_images(images, report.list_equal_samples())
    report.set_near_groups(near.places)
    if not near.is_complete:
        report.warnings.append(
            "Too many images look alike to compare them all; the report lists only some of the near-equal images."
        )
    return near.groups if has_groups(near.groups["train"]) else {}


def add_rows_to_report(report: ReportBuilder, table: Table, splits: Mapping[str, TableSplit]) -> None:
    """Add a table's rows to the report.

    If the samples are windows, add a unique number for each window instead of its rows. Windows overlap, but they
    are not duplicates.
    """
    num_before = 0
    for name, split in splits.items():
        count = len(split.targets)
        seen = split.rows if table.window is None else np.arange(num_before, num_before + count)
        report.add_chunk(SampleChunk(name, seen, split.targets, split.names))
        num_before += count
