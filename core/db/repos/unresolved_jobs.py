"""Builds jobs that the service itself submits. The API validates and resolves them before a worker claims them."""

from typing import Any

from core.db.tables import JobRow
from core.spec import JobSpec, VariantSpec
from core.spec.submission import build_initial_progress, get_registry_name


def build_unresolved_job(
    spec: JobSpec | VariantSpec,
    *,
    dataset_version_id: str | None,
    priority: int,
    **columns: Any,  # noqa: ANN401 - column values
) -> JobRow:
    """Return the row of a job that is not resolved yet.

    Args:
        spec: the spec of the job.
        dataset_version_id: the version of the dataset that the job reads.
        priority: the priority of the job in the queue.
        columns: other columns of the row.
    """
    return JobRow(
        kind=spec.kind,
        name=spec.name,
        model_name=get_registry_name(spec),
        spec=spec.model_dump(mode="json"),
        is_resolved=False,
        progress=build_initial_progress(spec, None),
        dataset_version_id=dataset_version_id,
        priority=priority,
        **columns,
    )
