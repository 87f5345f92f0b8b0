"""Pins the model version and the checkpoint that all trials of a sweep start from, and locks their dataset version."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.services.validation.report import reject, reject_all
from app.services.validation.resume_from import RESUME_FROM, find_resume_source
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.model_dependents import INIT_FROM
from core.db.repos.models import ModelRepo
from core.db.tables import DatasetVersionRow
from core.errors import InvalidSpec, NotFound
from core.spec import JobSpec
from core.spec.job import ResumeFromSpec
from core.sweeps.json_pointers import is_inside
from core.sweeps.spec import SweepSpec


def pin_references(session: Session, sweep: SweepSpec, base: Mapping[str, Any], first: JobSpec) -> dict[str, Any]:
    """Return the base of a sweep with a model version and a checkpoint number instead of an alias and a tag.

    Neither can be deleted until the commit. A reference that a parameter of the sweep replaces is left as it is.

    Args:
        session: an open session.
        sweep: the sweep.
        base: its base, with all values in their long form.
        first: the job spec of the first trial.

    Raises:
        InvalidSpec: the model version or the checkpoint does not exist.
    """
    pinned = dict(base)
    if isinstance(base.get("init_from"), str) and INIT_FROM not in sweep.space:
        pinned["init_from"] = _pin_model(session, base["init_from"])
    is_replaced = any(pointer == RESUME_FROM or is_inside(pointer, RESUME_FROM) for pointer in sweep.space)
    if base.get("resume_from") is not None and not is_replaced:
        source = ResumeFromSpec.model_validate(base["resume_from"])
        number = _pin_checkpoint(session, first.model_copy(update={"resume_from": source}))
        pinned["resume_from"] = {**base["resume_from"], "checkpoint": number}
    return pinned


def lock_version(session: Session, version: DatasetVersionRow | None) -> DatasetVersionRow:
    """Prevent that a dataset version that is being imported is deleted before the sweep is stored."""
    assert version is not None  # noqa: S101 - a training has a dataset
    return DatasetRepo(session).lock(version.name, version.version, is_shared=True)


def _pin_model(session: Session, ref: str) -> str:
    models = ModelRepo(session)
    try:
        row = models.resolve(ref)
        models.lock(row.name, row.version, is_shared=True)
    except NotFound as error:
        reject(f"/base{INIT_FROM}", error.detail)
    return f"{row.name}@{row.version}"


def _pin_checkpoint(session: Session, spec: JobSpec) -> int:
    try:
        source = find_resume_source(session, spec)
    except InvalidSpec as error:
        reject_all([(f"/base{pointer}", reason) for pointer, reason in error.errors])
    assert source is not None  # noqa: S101 - the spec has the field
    assert spec.resume_from is not None  # noqa: S101 - the caller sets it
    try:
        CheckpointRepo(session).lock(spec.resume_from.job, source.number)
    except NotFound as error:
        reject(f"/base{RESUME_FROM}", error.detail)
    return source.number
