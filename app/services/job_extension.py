"""Plans the extension of a finished training job: its spec, its schedule and the warnings."""

import math
from typing import Any, NamedTuple

from app.services.validation.objective import find_monitor_errors
from app.services.validation.optimizer import find_schedule_errors
from app.services.validation.report import ValidationReport
from app.services.validation.resolve import parse_job_spec
from app.services.validation.training import replace_default_monitor
from core.db.tables import JobRow
from core.spec import JobSpec
from core.spec.extension import Extension
from core.spec.optimizers import OptimizerSpec
from core.spec.schedule_base import ScheduleEnd
from core.spec.schedules import OneCycleSpec, ScheduleSpec

SCHEDULE = "/schedule"


class ExtensionPlan(NamedTuple):
    """The new values of the job's columns."""

    spec: JobSpec
    extension: Extension
    progress: dict[str, Any]
    warnings: list[str]


def plan_extension(job: JobRow, epochs: int, schedule: ScheduleSpec | None) -> ExtensionPlan:
    """Plan `epochs` additional epochs of a succeeded job.

    With `schedule`, a new schedule covers exactly these epochs. Otherwise, the job's schedule continues if it was
    planned for more epochs than the job has trained. After its end, the learning rate remains constant.

    Raises:
        InvalidSpec: the new schedule is invalid, or the job's schedule has ended with a learning rate of 0.
    """
    num_completed = int(job.progress.get("epoch") or job.spec["epochs"])
    changes: dict[str, Any] = {"epochs": num_completed + epochs}
    changes["milestones"] = _select_milestones(job.spec.get("milestones"), num_completed + epochs)
    if schedule is not None:
        part = replace_default_monitor(schedule) if job.spec["dataset"]["valid"] == 0 else schedule
        changes["schedule"] = part.model_dump(mode="json")
    spec = parse_job_spec({**job.spec, **changes})
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller extends only training jobs
    steps_per_epoch, report = _get_steps_per_epoch(job), ValidationReport()
    if schedule is not None:
        extension = Extension(from_epoch=num_completed, schedule_start=num_completed, schedule_epochs=epochs)
        _check_new_schedule(spec, epochs * steps_per_epoch, report)
    else:
        extension = _continue_schedule(job, num_completed)
        _check_schedule_end(job, spec, extension, steps_per_epoch, report)
    report.raise_if_invalid()
    _warn_of_early_stop(spec, num_completed, report)
    steps = int(job.progress.get("step") or 0) + epochs * steps_per_epoch
    progress = {**job.progress, "epochs": spec.epochs, "steps": steps, "eta_seconds": None}
    warnings = [*job.warnings, *(text for text in report.warnings if text not in job.warnings)]
    return ExtensionPlan(spec, extension, progress, warnings)


def _select_milestones(milestones: dict[str, Any] | None, epochs: int) -> dict[str, Any] | None:
    """Return the milestones up to the last epoch. A job that stopped early can have later ones."""
    reached = [epoch for epoch in (milestones or {}).get("epochs", ()) if epoch <= epochs]
    return {"epochs": reached} if reached else None


def _get_steps_per_epoch(job: JobRow) -> int:
    """Return the number of steps per epoch. Jobs of earlier versions did not store it."""
    progress = job.progress
    return int(progress.get("steps_per_epoch") or progress.get("steps", 0) // progress.get("epochs", 1)) or 1


def _continue_schedule(job: JobRow, num_completed: int) -> Extension:
    if job.extension is None:
        return Extension(from_epoch=num_completed, schedule_start=0, schedule_epochs=job.spec["epochs"])
    return Extension.model_validate({**job.extension, "from_epoch": num_completed})


def _check_new_schedule(spec: JobSpec, num_steps: int, report: ValidationReport) -> None:
    if isinstance(spec.schedule, OneCycleSpec) and spec.schedule.max_lr == "auto":
        reason = "must be a number in an extension: the search for 'auto' starts from the initial weights"
        report.add(f"{SCHEDULE}/max_lr", reason)
    report.extend(find_schedule_errors(spec, num_steps))
    report.extend(error for error in find_monitor_errors(spec) if error[0].startswith(SCHEDULE))


def _check_schedule_end(
    job: JobRow, spec: JobSpec, extension: Extension, steps_per_epoch: int, report: ValidationReport
) -> None:
    """Warn if some of the additional epochs use the final learning rate. Report an error if that is 0."""
    if spec.schedule is None:
        return
    num_steps_per_call = 1 if spec.schedule.call_on == "epoch_end" else steps_per_epoch
    num_planned = extension.schedule_epochs * num_steps_per_call
    end = _find_end(job, spec, num_planned)
    if end is None:
        return
    name, last_epoch = spec.schedule.name, extension.schedule_start + math.ceil(end.length / num_steps_per_call)
    num_left = last_epoch - extension.from_epoch
    if spec.epochs <= last_epoch:
        return
    if end.lr == 0:
        choice = f", or set epochs to at most {num_left}" if num_left > 0 else ""
        reason = (
            f"the schedule {name!r} of this job ends after epoch {last_epoch} with a learning rate of 0, so later "
            f"epochs would not change the weights; set `schedule` to plan the additional epochs{choice}"
        )
        report.add(SCHEDULE, reason)
    elif end.length >= num_planned:  # otherwise the job has already used the final learning rate, as it was planned
        first = max(last_epoch, extension.from_epoch) + 1
        lr = "" if end.lr is None else f", {end.lr:g}"
        report.warn(
            f"The schedule {name!r} ends after epoch {last_epoch}. From epoch {first} to epoch {spec.epochs}, the "
            f"learning rate is constant: the final one of the schedule{lr}. To plan these epochs, extend a job with "
            f"`schedule`."
        )


def _warn_of_early_stop(spec: JobSpec, num_completed: int, report: ValidationReport) -> None:
    """Warn if a callback can end the extension before its last epoch."""
    for callback in spec.callbacks:
        earliest = callback.get_earliest_stop(num_completed + 1)
        if earliest is not None and earliest < spec.epochs:
            report.warn(
                f"The callback {callback.name!r} can end the extension before epoch {spec.epochs}, at the earliest "
                f"after epoch {earliest}. It compares only epochs after epoch {num_completed}."
            )


def _find_end(job: JobRow, spec: JobSpec, num_planned: int) -> ScheduleEnd | None:
    schedule = spec.schedule
    assert schedule is not None  # noqa: S101 - the caller checks it
    found_lr = ((job.runtime or {}).get("lr_find") or {}).get("suggestion")
    if isinstance(schedule, OneCycleSpec) and schedule.max_lr == "auto" and found_lr is not None:
        schedule = schedule.model_copy(update={"max_lr": found_lr})
    return schedule.get_end(num_planned, _get_initial_lr(spec.optimizer))


def _get_initial_lr(optimizer: OptimizerSpec) -> float:
    """Return the learning rate of an optimizer, or that of its first part."""
    parts = getattr(optimizer, "parts", ())
    return float(getattr(parts[0].optimizer if parts else optimizer, "lr", 0.0))
