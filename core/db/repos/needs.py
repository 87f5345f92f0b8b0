"""What a job needs of a worker, as conditions on its row."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, func

from core.db.tables import JobRow


def fits(wishes: Collection[str]) -> ColumnElement[bool]:
    """The job's device is among these: `auto`, `cpu`, `cuda`, `cuda:0` and the like."""
    return _device().in_(sorted(wishes))


def on_gpu() -> ColumnElement[bool]:
    """The job asks for CUDA, which not every worker has."""
    return _device().like("cuda%")


def _device() -> ColumnElement[str]:
    return func.coalesce(JobRow.spec["device"].as_string(), "auto")
