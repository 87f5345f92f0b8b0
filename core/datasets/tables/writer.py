"""Writes packed tables: the rows of each split as a float32 array, and the statistics of the training rows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.columns import Rows, Table
from core.datasets.packed import META_FILE, SPLITS, PackedMeta, Targets, Task, Weights
from core.datasets.packed_writer import encode_npy, hash_json, write_groups, write_weights
from core.datasets.sample_groups import Groups
from core.durable_files import fsync_path, write_new_file


class TableSplit(NamedTuple):
    """The rows of a split.

    Attributes:
        rows: float32 (N, F), with NaN for missing numbers. If samples are windows: the rows of the series, (L, F).
        targets: the targets of the samples: int64 for classification, otherwise float32.
        names: the names of the samples.
        weights: float32 weights of the samples. None: the table has no weights.
        groups: int64, the numbers of the groups of the samples. None: the table has no groups.
    """

    rows: Rows
    targets: Targets
    names: Sequence[str]
    weights: Weights | None = None
    groups: Groups | None = None


def write_table(
    out: Path, table: Table, task: Task, classes: Sequence[str], num_outputs: int, splits: Mapping[str, TableSplit]
) -> PackedMeta:
    """Write a table durably into the new folder `out`. The dataset is complete when `meta.json` exists."""
    out.mkdir(parents=True, exist_ok=True)
    ordered = {name: splits[name] for name in SPLITS if name in splits}
    digests = {name: _write_split(out, name, split) for name, split in ordered.items()}
    metadata: dict[str, Any] = {
        "task": task,
        "classes": list(classes),
        "num_outputs": num_outputs,
        "image_shape": list(table.sample_shape),
        "table": table.model_dump(mode="json"),
    }
    train = splits["train"]
    is_number = np.asarray([cardinality == 0 for cardinality in table.cardinalities])
    mean, std = _compute_moments(train.rows)
    target_mean, target_std = _compute_moments(np.asarray(train.targets)) if task == "regression" else ((), ())
    meta = PackedMeta(
        **metadata,
        splits={name: len(split.targets) for name, split in ordered.items()},
        mean=tuple(np.where(is_number, mean, 0.0).tolist()),
        std=tuple(np.where(is_number, std, 1.0).tolist()),
        target_mean=target_mean,
        target_std=target_std,
        resize="none",
        weighted=train.weights is not None,
        grouped=train.groups is not None,
        content_hash=hash_json({**metadata, "splits": digests}),
    )
    write_new_file(out / META_FILE, meta.model_dump_json(indent=2).encode())
    fsync_path(out)
    return meta


def _write_split(out: Path, name: str, split: TableSplit) -> dict[str, Any]:
    write_new_file(out / f"{name}_rows.npy", encode_npy(split.rows))
    write_new_file(out / f"{name}_targets.npy", encode_npy(split.targets))
    write_new_file(out / f"{name}_names.json", json.dumps(list(split.names)).encode())
    optional = write_weights(out, name, split.weights) | write_groups(out, name, split.groups)
    rows, targets = (hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in split[:2])
    return {"count": len(split.targets), "rows": rows, "targets": targets, **optional}


def _compute_moments(values: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each column, ignoring NaN. The deviation of a constant column is 1."""
    means, stds = [], []
    for column in values.T:
        present = column[~np.isnan(column)].astype(np.float64)
        mean = float(present.mean()) if len(present) else 0.0
        std = float(present.std()) if len(present) else 0.0
        means.append(mean)
        stds.append(std if std > 1e-7 * max(abs(mean), 1e-30) else 1.0)
    return tuple(means), tuple(stds)
