"""Finds the jobs that require a registered model."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from core.db.repos.models import DEFAULT, ModelRepo
from core.db.tables import JobRow
from core.errors import NotFound
from core.jobs import UNFINISHED

TRAINING_KINDS = (
    "train",
    "lr_find",
    "reproduce",
)  # `init_from` of these jobs refers to a model, and `model` is a new name
NEW_MODEL_KINDS = (*TRAINING_KINDS, "register")


class ModelDependentRepo:
    """Queries for the unfinished jobs that refer to a model. Jobs that have ended require no model."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list_jobs(self, name: str, versions: Collection[int] | None = None) -> list[str]:
        """List the ids of the jobs that require a model, oldest first; with `versions`, one of these versions."""
        models = ModelRepo(self._session)
        found: list[str] = []
        numbers: dict[str, int | None] = {}
        for job_id, ref in self._list_references(name):
            if versions is not None and ref not in numbers:
                numbers[ref] = _find_version(models, ref)
            if versions is None or numbers[ref] in versions:
                found.append(job_id)
        return found

    def list_jobs_by_alias(self, name: str, alias: str) -> list[str]:
        """List the ids of the jobs that wait for their dataset and then require an alias, oldest first.

        The references of all other jobs were replaced by version numbers when the jobs were submitted.
        """
        refs = {f"{name}@{alias}"} | ({name} if alias == DEFAULT else set())
        return [job_id for job_id, ref in self._list_references(name, JobRow.is_resolved.is_(False)) if ref in refs]

    def _list_references(self, name: str, *conditions: ColumnElement[bool]) -> list[tuple[str, str]]:
        """List the ids of the unfinished jobs that refer to a model, and their references."""
        init_from, model = (JobRow.spec[field].as_string() for field in ("init_from", "model"))
        is_dependent = or_(
            and_(JobRow.kind.in_(TRAINING_KINDS), _is_reference(init_from, name)),
            and_(JobRow.kind.not_in(NEW_MODEL_KINDS), _is_reference(model, name)),
        )
        query = select(JobRow.id, JobRow.kind, init_from, model).where(JobRow.state.in_(UNFINISHED), is_dependent)
        rows = self._session.execute(query.where(*conditions).order_by(JobRow.created_at, JobRow.id))
        return [(job_id, source if kind in TRAINING_KINDS else applied) for job_id, kind, source, applied in rows]


def _is_reference(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return or_(column == name, column.startswith(f"{name}@", autoescape=True))


def _find_version(models: ModelRepo, ref: str) -> int | None:
    try:
        return models.resolve(ref).version
    except NotFound:
        return None
