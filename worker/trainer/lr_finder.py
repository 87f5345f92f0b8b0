"""Finds a learning rate, either as a separate job or before a training whose schedule has `max_lr: "auto"`."""

import json
import math
from collections.abc import Mapping
from typing import Any

from core.datasets.packed import PackedDataset
from core.errors import InvalidSpec
from core.spec import JobSpec, LrFindSpec
from core.spec.schedules import OneCycleSpec
from worker.builders.finder_run import build_finder_run
from worker.engine import plots
from worker.engine.distributed import DistributedContext
from worker.engine.lr_finder import LrFinderResult, LrRange, find_lr
from worker.engine.run import Run
from worker.protocol import CurvePoint, JobCompleted, RunStarted
from worker.trainer.artifacts import Artifacts
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.channel import Channel
from worker.trainer.initial_state import load_initial_weights, log_skipped_weights
from worker.trainer.job_context import JobContext
from worker.trainer.json_values import to_json_floats
from worker.trainer.runtime_info import describe_run


def suggest_lr(spec: LrFindSpec, context: JobContext) -> JobCompleted:
    """Test increasing learning rates and suggest one of them.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    channel = context.channel
    run = build_finder_run(spec, context.open_dataset(), context.placement, load_initial_weights(context.start))
    log_skipped_weights(run, channel)
    channel.send(RunStarted(runtime=context.placement.describe() | describe_run(run, context.start)))
    lr_range = LrRange(spec.start_lr, spec.end_lr, spec.steps, spec.spacing)
    curve = _run_range_test(run, lr_range, ProgressReporter(channel, lr_range.steps))
    _save_curve(curve, context.create_artifacts(), channel)
    return _build_result(run, curve, channel)


def tune_lr(
    spec: JobSpec, packed: PackedDataset, context: JobContext, previous: Mapping[str, Any] | None
) -> tuple[JobSpec, dict[str, Any]]:
    """Replace `max_lr: "auto"` with the suggested learning rate, if the spec contains it.

    Args:
        spec: the spec of the training.
        packed: the dataset.
        context: the context of the job.
        previous: the result from an earlier attempt's snapshot. If given, it is used and no search is run.

    Returns:
        The updated spec, and the result as metadata to store in the snapshots.

    Raises:
        InvalidSpec: the loss did not decrease at any learning rate.
        EvaluationInterrupted: a stop is requested.
    """
    if not isinstance(spec.schedule, OneCycleSpec) or spec.schedule.max_lr != "auto":
        return spec, {}
    found = _find_max_lr(spec, packed, context) if previous is None else dict(previous)
    found["suggestion"] = DistributedContext().broadcast(found["suggestion"])
    schedule = spec.schedule.model_copy(update={"max_lr": found["suggestion"]})
    return spec.model_copy(update={"schedule": schedule}), {"lr_find": found}


def _find_max_lr(spec: JobSpec, packed: PackedDataset, context: JobContext) -> dict[str, Any]:
    channel, lr_range = context.channel, LrRange()
    run = build_finder_run(spec, packed, context.placement, load_initial_weights(context.start))
    curve = _run_range_test(run, lr_range, ProgressReporter(channel, lr_range.steps, is_quiet=True))
    _save_curve(curve, Artifacts(channel, context.work_dir / "lr_find"), channel)
    if curve.suggestion is None:
        raise InvalidSpec("max_lr 'auto': the loss did not decrease at any learning rate; set max_lr to a number")
    channel.send_log(
        f"max_lr 'auto' is set to {curve.suggestion:.3g}, a tenth of the learning rate with the lowest loss.",
        "warning",
    )
    return {name: value for name, value in curve.to_dict().items() if name != "points"}


def _run_range_test(run: Run, lr_range: LrRange, reporter: ProgressReporter) -> LrFinderResult:
    curve = find_lr(run, lr_range, (reporter,))
    reporter.check_stop_request()
    return curve


def _save_curve(curve: LrFinderResult, artifacts: Artifacts, channel: Channel) -> None:
    """Save the learning rate curve as JSON and as an image. If an error occurs, log a warning."""
    try:
        artifacts.save("lr_find.json", "application/json", json.dumps(curve.to_dict()).encode())
        image = plots.plot_lr_curve(curve.rates, curve.losses, curve.smoothed, curve.suggestion)
        artifacts.save("lr_find.png", plots.PNG, image)
    except Exception as error:  # noqa: BLE001 - the result does not depend on the files
        channel.send_log(f"The files of the learning rate curve could not be saved: {error}", "warning")


def _build_result(run: Run, curve: LrFinderResult, channel: Channel) -> JobCompleted:
    """Send the points of the curve to the supervisor, and return the final message."""
    steps_per_epoch = run.state.steps_per_epoch
    points = tuple(
        CurvePoint(split="train", name=name, step=step, epoch=math.ceil(step / steps_per_epoch), value=value)
        for name, values in (("lr", curve.rates), ("step_loss", curve.losses), ("smoothed_loss", curve.smoothed))
        for step, value in enumerate(values, 1)
    )
    ProgressReporter(channel, len(curve.rates)).report_step(len(curve.rates), points)
    if curve.suggestion is None:
        channel.send_log("The loss did not decrease at any learning rate, so none can be suggested.", "warning")
    metrics = {} if curve.suggestion is None else {"suggested_lr": curve.suggestion}
    return JobCompleted(result=curve.to_dict(), metrics=to_json_floats(metrics))
