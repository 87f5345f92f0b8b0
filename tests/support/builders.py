"""Builds valid database rows. Tests change only the fields that matter to them."""

import uuid
from typing import Any

from core.db.clock import utc_now
from core.db.tables import DatasetVersionRow, JobRow
from core.jobs import DatasetState


def dataset_version(**changes: Any) -> DatasetVersionRow:
    """Build a version of a dataset that is ready."""
    row_id = uuid.uuid4().hex
    values: dict[str, Any] = {
        "id": row_id,
        "name": f"dataset-{row_id[:8]}",
        "version": 1,
        "state": DatasetState.READY,
        "source": {"kind": "builtin", "options": {}},
        "source_key": row_id,
        "created_at": utc_now(),
    }
    return DatasetVersionRow(**values | changes)


def job_spec(**changes: Any) -> dict[str, Any]:
    """Build the spec of a small job as JSON."""
    spec: dict[str, Any] = {
        "name": "tiny",
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "hidden": [8]},
        "epochs": 1,
    }
    return spec | changes


def job(version: DatasetVersionRow, **changes: Any) -> JobRow:
    """Build a job that trains on that version. `JobRepo.add` stores it."""
    values: dict[str, Any] = {
        "kind": "train",
        "name": "tiny",
        "model_name": "tiny",
        "spec": job_spec(),
        "dataset_version_id": version.id,
    }
    return JobRow(**values | changes)
