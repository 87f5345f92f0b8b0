"""Finds the jobs and the sweeps that require a registered model."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from core.db.repos.models import DEFAULT, ModelRepo
from core.db.sweep_tables import SweepRow
from core.db.tables import JobRow
from core.errors import NotFound
from core.jobs import UNFINISHED
from core.sweeps.states import OPEN_SWEEP

TRAINING_KINDS = (
    "train",
    "lr_find",
    "reproduce",
)  # `init_from` of these jobs refers to a model, and `model` is a new name
INIT_FROM = "/init_from"
"""The parameter of a sweep that refers to models."""
NEW_MODEL_KINDS = (*TRAINING_KINDS, "register")


class ModelDependentRepo:
    """Queries for the jobs and sweeps that refer to a model and have not ended. Those that have ended require none."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list_jobs(self, name: str, versions: Collection[int] | None = None) -> list[str]:
        """List the ids of the jobs that require a model, oldest first; with `versions`, one of these versions."""
        return self._select_versions(self._list_references(name), versions)

    def list_sweeps(self, name: str, versions: Collection[int] | None = None) -> list[str]:
        """List the ids of the sweeps whose trials start from a model, oldest first; with `versions`, from one of these.

        A sweep refers to a model in its base, or with a value of the parameter `/init_from`.
        """
        return self._select_versions(self._list_sweep_references(name), versions)

    def list_sweeps_by_alias(self, name: str, alias: str) -> list[str]:
        """List the ids of the sweeps whose trials start from an alias, oldest first."""
        refs = _list_alias_references(name, alias)
        return list(dict.fromkeys(sweep_id for sweep_id, ref in self._list_sweep_references(name) if ref in refs))

    def list_jobs_by_alias(self, name: str, alias: str) -> list[str]:
        """List the ids of the jobs that wait for their dataset and then require an alias, oldest first.

        The references of all other jobs were replaced by version numbers when the jobs were submitted.
        """
        refs = _list_alias_references(name, alias)
        return [job_id for job_id, ref in self._list_references(name, JobRow.is_resolved.is_(False)) if ref in refs]

    def _select_versions(self, references: Sequence[tuple[str, str]], versions: Collection[int] | None) -> list[str]:
        """Return the ids of the jobs or sweeps that refer to one of these versions. None: any version."""
        models, numbers = ModelRepo(self._session), dict[str, int | None]()
        found: dict[str, None] = {}
        for id_, ref in references:
            if versions is not None and ref not in numbers:
                numbers[ref] = _find_version(models, ref)
            if versions is None or numbers[ref] in versions:
                found[id_] = None
        return list(found)

    def _list_sweep_references(self, name: str) -> list[tuple[str, str]]:
        """List the ids of the open sweeps that refer to a model, and their references."""
        query = select(SweepRow.id, SweepRow.spec["base"]["init_from"], SweepRow.spec["space"][INIT_FROM]["values"])
        query = query.where(SweepRow.state.in_(OPEN_SWEEP)).order_by(SweepRow.created_at, SweepRow.id)
        return [
            (sweep_id, ref)
            for sweep_id, base, values in self._session.execute(query)
            for ref in (base, *(values or ()))
            if isinstance(ref, str) and ref.partition("@")[0] == name
        ]

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


def _list_alias_references(name: str, alias: str) -> set[str]:
    return {f"{name}@{alias}"} | ({name} if alias == DEFAULT else set())


def _find_version(models: ModelRepo, ref: str) -> int | None:
    try:
        return models.resolve(ref).version
    except NotFound:
        return None
