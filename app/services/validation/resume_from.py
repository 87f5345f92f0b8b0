"""Finds the checkpoint that a job starts from, and checks that the job can restore its state."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.services.validation.context import ResumeSource
from app.services.validation.report import ValidationReport, reject
from app.services.validation.training import TrainingContext
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricRepo
from core.db.tables import CheckpointRow
from core.spec import AnyJobSpec, JobSpec, TrainingSpec

RESUME_FROM = "/resume_from"
MAX_LISTED = 20


def find_resume_source(session: Session, spec: AnyJobSpec) -> ResumeSource | None:
    """Return the checkpoint that `resume_from` refers to; None if the field is not set.

    Raises:
        InvalidSpec: the job or checkpoint does not exist.
    """
    requested = spec.resume_from if isinstance(spec, TrainingSpec) else None
    if requested is None:
        return None
    job = JobRepo(session).find(requested.job)
    if job is None:
        reject(f"{RESUME_FROM}/job", f"job {requested.job!r} does not exist")
    if job.kind != "train":
        reject(f"{RESUME_FROM}/job", f"is a job of kind {job.kind!r}; only the checkpoints of trainings can be used")
    rows = CheckpointRepo(session).list_checkpoints(requested.job)
    row = next((row for row in reversed(rows) if requested.checkpoint in (row.number, *row.tags)), None)
    if row is None:
        available = ", ".join(map(_format_checkpoint, rows[-MAX_LISTED:])) or "none yet"
        reject(
            f"{RESUME_FROM}/checkpoint",
            f"job {job.name!r} has no checkpoint {requested.checkpoint!r}; available: {available}",
        )
    return ResumeSource(row.number, row.step, job.spec)


def copy_metrics(session: Session, spec: AnyJobSpec, job_id: str, steps_per_epoch: int) -> None:
    """If `resume_from.records` is set, copy the metrics of the checkpoint's complete epochs to this job."""
    source = find_resume_source(session, spec)
    if isinstance(spec, JobSpec) and source is not None and spec.resume_from is not None and spec.resume_from.records:
        last_step = source.count_epochs(steps_per_epoch) * steps_per_epoch
        MetricRepo(session).copy(spec.resume_from.job, job_id, up_to_step=last_step)


def check_resumed_architecture(context: TrainingContext, report: ValidationReport) -> None:
    """If optimizer or callback states are restored, check that the architecture matches the checkpoint."""
    requested, source = context.spec.resume_from, context.job.resume_source
    if requested is None or source is None or not (requested.optimizer or requested.callbacks):
        return
    if context.architecture.spec.model_dump(mode="json") != source.spec["architecture"]:
        for name in ("optimizer", "callbacks"):
            if getattr(requested, name):
                report.add(f"{RESUME_FROM}/{name}", "requires the checkpoint's architecture, with the same options")


def check_resumed_optimizer(context: TrainingContext, report: ValidationReport) -> None:
    """If the optimizer state is restored, check that the optimizer and parameter groups match the checkpoint."""
    spec, source = context.spec, context.job.resume_source
    if spec.resume_from is None or source is None or not spec.resume_from.optimizer:
        return
    current, saved = spec.optimizer.model_dump(mode="json"), source.spec["optimizer"]
    if current["name"] != saved["name"]:
        reason = f"the checkpoint's optimizer is {saved['name']!r}, this job's is {current['name']!r}"
        report.add(f"{RESUME_FROM}/optimizer", reason)
    elif _describe_groups(current, list(spec.freeze)) != _describe_groups(saved, list(source.spec.get("freeze") or ())):
        fields = "`parts`, their `groups`" if "parts" in current else "`groups`"
        report.add(
            f"{RESUME_FROM}/optimizer",
            f"requires the parameter groups of the checkpoint: {fields} and `freeze` must be equal",
        )


def check_resumed_callbacks(context: TrainingContext, report: ValidationReport) -> None:
    """If callback states are restored, check that the callbacks monitor the same metrics as in the checkpoint."""
    spec, source = context.spec, context.job.resume_source
    if spec.resume_from is None or source is None or not spec.resume_from.callbacks:
        return
    saved: dict[str, list[Mapping[str, Any]]] = {}
    for entry in source.spec["callbacks"]:
        saved.setdefault(entry["name"], []).append(entry)
    for index, callback in enumerate(spec.callbacks):
        entries = saved.get(callback.name)
        before = entries.pop(0).get("monitor") if entries else None
        after = getattr(callback, "monitor", None)
        if before is not None and before != after:
            reason = f"the checkpoint's {callback.name!r} monitors {before!r}; it cannot continue with {after!r}"
            report.add(f"/callbacks/{index}/monitor", reason)


def check_resumed_records(context: TrainingContext, report: ValidationReport) -> None:
    """If metrics are copied, check that dataset and batch size match the checkpoint, and that epochs remain."""
    spec, source = context.spec, context.job.resume_source
    if spec.resume_from is None or source is None or not spec.resume_from.records:
        return
    saved = source.spec["batch_size"], source.spec.get("accumulate_batches", 1), source.spec["dataset"]["name"]
    if saved != (spec.batch_size, spec.accumulate_batches, spec.dataset.name):
        reason = (
            "requires the checkpoint's dataset, batch_size and accumulate_batches, so that the step numbers continue"
        )
        report.add(f"{RESUME_FROM}/records", reason)
        return
    num_epochs = source.count_epochs(context.steps_per_epoch)
    if spec.epochs <= num_epochs:
        report.add("/epochs", f"must be above {num_epochs}: the value includes the epochs of the checkpoint")


def _describe_groups(optimizer: Mapping[str, Any], freeze: list[str]) -> list[Any]:
    """Return the settings that assign parameters to parameter groups."""
    groups = [(group["match"], group["weight_decay"] is None) for group in optimizer.get("groups", ())]
    parts = [
        (part["match"], part["optimizer"]["name"], _describe_groups(part["optimizer"], []))
        for part in optimizer.get("parts", ())
    ]
    return [groups, optimizer.get("decay_norms_and_biases"), parts, freeze]


def _format_checkpoint(row: CheckpointRow) -> str:
    tags = [tag for tag in row.tags if tag != "kept"]
    return f"{row.number} ({', '.join(tags)})" if tags else str(row.number)
