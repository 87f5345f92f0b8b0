"""Packs the new version of an edit from the packed files of its base version."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.definition import DatasetInfo, SampleChunk
from core.datasets.edits.apply import OperationResult, apply_operations, raise_operation_error
from core.datasets.edits.class_plan import find_errors
from core.datasets.edits.operations import OperationSpec
from core.datasets.edits.order import SampleOrder, order_samples
from core.datasets.edits.selection import Index, SampleSelection
from core.datasets.image_preview import write_image_preview
from core.datasets.import_report import ReportBuilder
from core.datasets.ingest.builtin import add_rows_to_report, write_chunks
from core.datasets.packed import SPLITS, PackedDataset, PackedMeta, PackedSplit, Targets
from core.datasets.tables.preview import write_table_preview
from core.datasets.tables.sample_weights import summarize_weights
from core.datasets.tables.writer import TableSplit, write_table
from core.errors import InvalidSpec

_MAX_CHUNK_SAMPLES = 256
_MAX_CHUNK_BYTES = 16 * 2**20
# Further arrays with one value for each sample, such as weights, are copied if a chunk has a field of the same name.
_COPIED_FIELDS = tuple(
    name for name in PackedSplit._fields if name in SampleChunk._fields and name not in ("images", "targets", "names")
)


def pack_edit(base: Path, out: Path, operations: Sequence[OperationSpec]) -> tuple[PackedMeta, dict[str, Any]]:
    """Apply operations to the packed dataset in `base`, and pack the result into the new folder `out`.

    Samples are copied in chunks and never changed, so that a dataset can be larger than memory. Their names remain. The
    content hash is that of an upload of the same files if the base version is an upload of images.

    Raises:
        InvalidSpec: an operation is invalid, or leaves no training samples, a single class, or a class without
            training samples. `extra` has the fields `code`, `hint` and, for one operation, `operation`.
        CorruptFile: the files of the base version are damaged.
    """
    packed = PackedDataset.open(base)
    if errors := find_errors(operations, packed.meta):
        first = errors[0]
        pointer = first.pointer.removeprefix(f"/{first.index}")
        raise_operation_error(first.index, pointer, first.reason, code="edit_invalid_operation")
    selection = SampleSelection.open(packed)
    results = apply_operations(selection, operations)
    order = order_samples(selection)
    _check_classes(selection, order)
    report = ReportBuilder(packed.meta.task, order.classes)
    meta = _write_images(out, selection, order, report) if packed.meta.table is None else None
    meta = meta or _write_rows(out, selection, order, report)
    return meta, report.build_report(meta, **_summarize_edit(out, selection, results))


def _check_classes(selection: SampleSelection, order: SampleOrder) -> None:
    if selection.labels is None:
        return
    if len(order.classes) < 2:
        raise _make_result_error(
            f"The edit leaves only the class {order.classes[0]!r}.", "dataset_too_few_classes", "at least two classes"
        )
    num_train = np.bincount(selection.labels[order.splits["train"]], minlength=len(order.classes))
    missing = [name for name, count in zip(order.classes, num_train.tolist(), strict=True) if not count]
    trained = {selection.meta.classes[label] for label in np.unique(_get_source_labels(selection, "train"))}
    lost = [name for name in missing if name in trained or name not in selection.meta.classes]
    if lost:
        raise _make_result_error(
            f"These classes have samples, but no training samples: {', '.join(lost[:10])}.",
            "dataset_unknown_class",
            "training samples of every class",
        )


def _get_source_labels(selection: SampleSelection, split: str) -> Index:
    labels = selection.source_labels
    is_in_split = selection.source_codes == SPLITS.index(split)
    return np.zeros(0, np.int64) if labels is None else labels[is_in_split]


def _make_result_error(detail: str, code: str, rule: str) -> InvalidSpec:
    return InvalidSpec(detail, code=code, hint=f"Change the operations so that they leave {rule}.")


def _write_images(out: Path, selection: SampleSelection, order: SampleOrder, report: ReportBuilder) -> PackedMeta:
    meta = selection.meta
    num_outputs = len(order.classes) if meta.task == "classification" else meta.num_outputs
    dataset_info = DatasetInfo(meta.task, order.classes, num_outputs, meta.image_shape, {})
    chunks = _read_chunks(selection, order)
    flags = {"weighted": meta.weighted, "grouped": meta.grouped}
    packed = write_chunks(out, dataset_info, chunks, report, resize=meta.resize_policy, **flags)
    write_image_preview(out)
    return packed


def _read_chunks(selection: SampleSelection, order: SampleOrder) -> Iterator[SampleChunk]:
    size = max(1, min(_MAX_CHUNK_SAMPLES, _MAX_CHUNK_BYTES // math.prod(selection.meta.image_shape)))
    for split, index in order.splits.items():
        for start in range(0, len(index), size):
            part = index[start : start + size]
            copied = {name: _gather(selection, part, name) for name in _COPIED_FIELDS if _has_field(selection, name)}
            names = [selection.names[at] for at in part.tolist()]
            images = _gather(selection, part, "images")
            yield SampleChunk(split, images, _gather_targets(selection, part), names, **copied)


def _has_field(selection: SampleSelection, name: str) -> bool:
    return all(getattr(split, name) is not None for split in selection.splits.values())


def _gather(selection: SampleSelection, index: Index, name: str) -> Any:  # noqa: ANN401 - an array or a list
    """Return the values of a field of the base version for the samples, in the order of `index`."""
    arrays = {split: getattr(values, name) for split, values in selection.splits.items()}
    first = next(iter(arrays.values()))
    if not isinstance(first, np.ndarray):
        return [arrays[SPLITS[selection.source_codes[at]]][selection.positions[at]] for at in index.tolist()]
    gathered: NDArray[Any] = np.empty((len(index), *first.shape[1:]), first.dtype)
    for split, array in arrays.items():
        is_in_split = selection.source_codes[index] == SPLITS.index(split)
        gathered[is_in_split] = array[selection.positions[index[is_in_split]]]
    return gathered


def _gather_targets(selection: SampleSelection, index: Index) -> Targets:
    if selection.labels is None:
        targets: Targets = _gather(selection, index, "targets")
        return targets
    labels = selection.labels[index]
    return labels if selection.meta.task == "classification" else labels.astype(np.float32)[:, np.newaxis]


def _write_rows(out: Path, selection: SampleSelection, order: SampleOrder, report: ReportBuilder) -> PackedMeta:
    meta = selection.meta
    if meta.table is None:
        raise ValueError("the dataset is not a table")
    fields = [name for name in _COPIED_FIELDS if name in TableSplit._fields and _has_field(selection, name)]
    splits = {
        name: TableSplit(
            _gather(selection, index, "images"),
            _gather_targets(selection, index),
            [selection.names[at] for at in index.tolist()],
            **{field: _gather(selection, index, field) for field in fields},
        )
        for name, index in order.splits.items()
    }
    num_outputs = len(order.classes) if meta.task == "classification" else meta.num_outputs
    packed = write_table(out, meta.table, meta.task, order.classes, num_outputs, splits)
    add_rows_to_report(report, meta.table, splits)
    write_table_preview(out)
    return packed


def _summarize_edit(out: Path, selection: SampleSelection, results: Sequence[OperationResult]) -> dict[str, Any]:
    summary: dict[str, Any] = {"edits": [result._asdict() for result in results], "warnings": selection.warnings}
    if selection.meta.weighted:
        weights = PackedDataset.open(out).read_split("train").weights
        if weights is None or not weights.any():
            raise _make_result_error(
                "All training samples that remain have weight 0.", "dataset_bad_weights", "a training weight above 0"
            )
        summary["weights"] = summarize_weights(weights)
    if selection.meta.table is not None:
        summary["columns"] = _describe_columns(out)
    return summary


def _describe_columns(out: Path) -> list[dict[str, Any]]:
    """Return the columns for the report. A target that is also an input column of a series is listed once."""
    packed = PackedDataset.open(out)
    table = packed.meta.table
    if table is None:
        return []
    rows = np.concatenate([packed.read_split(name).images for name in packed.meta.splits])
    described = []
    for column, values in zip(table.columns, rows.T, strict=True):
        is_category = column.categories is not None
        num_missing = int((values == 0).sum() if is_category else np.isnan(values).sum())
        role = "categorical" if is_category else "numeric"
        described.append(_describe_column(column.name, role, num_missing, column.cardinality))
    return described + [_describe_column(name, "target", 0, 0) for name in table.targets]


def _describe_column(name: str, role: str, num_missing: int, num_categories: int) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "num_missing": num_missing,
        "num_categories": num_categories,
        "reason": None,
    }
