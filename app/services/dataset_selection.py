"""Describes the dataset version that a spec selects, and reads the properties of the dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from app.services.validation.context import PinnedDataset
from core.datasets import builtin
from core.datasets.definition import BuiltinDataset, DatasetInfo
from core.datasets.packed import PackedMeta
from core.db.tables import DatasetVersionRow
from core.errors import InvalidSpec

NAME = "/dataset/name"


class DatasetSelection(NamedTuple):
    """The dataset version that a spec selects.

    Attributes:
        version: the number of the version. A built-in dataset that has not been imported yet gets the next number.
        options: all options of a built-in dataset; empty for uploads.
        dataset_info: the properties of the version; None for a built-in dataset whose import has not finished.
    """

    name: str
    version: int
    options: Mapping[str, Any]
    dataset_info: DatasetInfo | None


def load_dataset(selection: DatasetSelection, datasets_dir: Path) -> PinnedDataset:
    """Return the selected dataset with its properties.

    Reads the source files of a built-in dataset that has not been imported yet, which may take seconds. Call it outside
    of transactions.

    Raises:
        InvalidSpec: a source file in `datasets_dir` is missing.
    """
    dataset_info = selection.dataset_info
    if dataset_info is None:
        dataset_info = _read_built_in_info(builtin.get_dataset(selection.name), selection.options, datasets_dir)
    return PinnedDataset(selection.version, selection.options, dataset_info)


def _read_built_in_info(entry: BuiltinDataset, options: Mapping[str, Any], datasets_dir: Path) -> DatasetInfo:
    if missing := entry.list_missing_files(datasets_dir, options):
        detail = f"files are missing in {datasets_dir}: {', '.join(missing)}. {entry.help_text}"
        raise InvalidSpec(f"{entry.name}: {detail}", errors=[(NAME, detail)], missing=missing)
    return entry.get_info(options, datasets_dir)


def read_dataset_info(row: DatasetVersionRow) -> DatasetInfo:
    """Return the properties of a version whose import has finished."""
    meta = PackedMeta.model_validate(row.meta)
    resize = meta.resize_policy if meta.table is None and row.source["kind"] == "upload" else None
    return DatasetInfo(meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, meta.table, resize)
