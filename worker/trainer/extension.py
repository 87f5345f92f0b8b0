"""Finds out whether and how a run extends a finished run."""

from collections.abc import Mapping
from typing import Any

from core.spec import JobSpec
from core.spec.extension import Extension
from worker.protocol import Start

KEY = "extension"
"""The key of the extension in the metadata of snapshots and in the job's `runtime`."""


def find_extension(start: Start, spec: JobSpec, previous: Mapping[str, Any]) -> Extension | None:
    """Return the extension of the run, or None if it does not extend a finished run.

    Without a supervisor, a snapshot with fewer epochs than the spec belongs to a run that is extended. The same applies
    to jobs that an earlier version of the service extended.

    Args:
        start: the supervisor's start message.
        spec: the spec of the training.
        previous: the metadata of the snapshot from which the run resumes; empty if there is none.
    """
    if start.extension is not None or "epochs" not in previous:
        return start.extension
    earlier = Extension.model_validate(previous[KEY]) if KEY in previous else None
    if spec.epochs <= previous["epochs"]:
        return earlier
    return Extension(
        from_epoch=previous["epoch"],
        schedule_start=0 if earlier is None else earlier.schedule_start,
        schedule_epochs=previous["epochs"] if earlier is None else earlier.schedule_epochs,
    )


def is_first_attempt(extension: Extension, previous: Mapping[str, Any]) -> bool:
    """Return whether the snapshot was written before the extension. `previous` is its metadata."""
    return bool(previous.get(KEY) != extension.model_dump())
