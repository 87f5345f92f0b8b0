"""Trains a model from initial weights or from a snapshot, and writes the model's bundle."""

from functools import partial
from pathlib import Path
from typing import Any

from core.datasets.packed import PackedDataset, PackedMeta
from core.jobs import IMMEDIATE_STOP_MODES, StopMode
from core.spec import JobSpec, ReproduceSpec
from core.spec.extension import Extension
from models import bundle
from worker.builders import build_run
from worker.builders.bundle_metadata import build_description
from worker.builders.metric_warnings import find_metric_warnings
from worker.engine import snapshot
from worker.engine.callback import Callback, SaveArtifact
from worker.engine.distributed import DistributedContext
from worker.engine.extended_run import restore_finished_run
from worker.engine.metric_history import MetricHistory
from worker.engine.run import EvaluationInterrupted, Run
from worker.protocol import MilestoneReached, RunStarted, Start, TrainingFinished
from worker.trainer.artifacts import to_file_digests
from worker.trainer.batch_size_finder import tune_batch_size
from worker.trainer.callbacks import (
    CheckpointCallback,
    CompileTimeCallback,
    KeepAliveCallback,
    LearningCurveCallback,
    MetricsCallback,
    MilestoneCallback,
    StopAfterStepCallback,
    StopRequestCallback,
)
from worker.trainer.callbacks.learning_curve import KEY as HISTORY
from worker.trainer.callbacks.metrics import build_best_epoch
from worker.trainer.channel import Channel
from worker.trainer.extension import KEY as EXTENSION
from worker.trainer.extension import find_extension, is_first_attempt
from worker.trainer.feature_cache import fill_feature_cache, plan_feature_cache
from worker.trainer.initial_state import (
    load_initial_weights,
    log_skipped_weights,
    restore_from_checkpoint,
    warn_if_schedule_ended,
)
from worker.trainer.job_context import JobContext
from worker.trainer.json_values import to_json_floats, to_json_values
from worker.trainer.lr_finder import tune_lr
from worker.trainer.precision_finder import tune_precision
from worker.trainer.runtime_info import count_parameters, describe_run
from worker.trainer.thread_finder import tune_threads


def train_model(spec: JobSpec, context: JobContext) -> TrainingFinished | MilestoneReached | None:
    """Train a model and return the final message.

    If the run is complete, return None in all processes of a distributed run except rank 0.

    Raises:
        EvaluationInterrupted: a stop is requested. If the run has made at least one step, it has written a snapshot.
    """
    start, channel, ranks = context.start, context.channel, DistributedContext()
    packed = context.open_dataset()
    previous = {} if start.resume_dir is None else snapshot.read_metadata(Path(start.resume_dir))
    extension = find_extension(start, spec, previous)
    tuned_spec, context, remembered = _tune_spec(spec, packed, context, previous)
    save_artifact = context.create_artifacts().save
    schedule_epochs = None if extension is None else extension.schedule_epochs
    weights = load_initial_weights(start)
    run = build_run(tuned_spec, packed, context.placement, weights, save_artifact, schedule_epochs)
    remembered |= _initialize_state(run, spec, context, previous, extension)
    plan = plan_feature_cache(run, tuned_spec, packed.meta, context)
    runtime = context.placement.describe() | describe_run(run, start) | ranks.describe() | remembered | plan.runtime
    channel.send(RunStarted(runtime=runtime, num_steps=run.state.step))
    run = fill_feature_cache(run, plan, context)
    shared = ranks.distribute(run)
    warn = partial(channel.send_log, level="warning")
    for warning in find_metric_warnings(tuned_spec.metrics or (), packed.meta, run):
        warn(warning)
    if run.oom_splitter is not None:
        run.oom_splitter.on_split = warn
    keep_alive = KeepAliveCallback(channel)
    history = MetricHistory.from_dict(previous[HISTORY]) if HISTORY in previous else MetricHistory()
    curve = _build_learning_curve(run, history, context, save_artifact)
    milestones = MilestoneCallback(() if spec.milestones is None else spec.milestones.epochs, start.milestone_epoch)
    control = (StopRequestCallback(channel), *_build_end(spec), milestones, keep_alive)
    observers = _build_observers(shared, tuned_spec, packed.meta, context, control, remembered, curve, history)
    try:
        shared.build_loop(observers, warn).fit(run.state)
        if not run.state.is_done:
            return _report_interruption(milestones)
        return _finish_run(run, start, packed.meta, channel, keep_alive) if ranks.rank == 0 else None
    finally:
        curve.wait()


def _build_end(spec: JobSpec) -> tuple[Callback, ...]:
    """Build the callback that ends a reproduction where a user or a time limit ended the original, if one did."""
    step = spec.stop_after_step if isinstance(spec, ReproduceSpec) else None
    return () if step is None else (StopAfterStepCallback(step),)


def _report_interruption(milestones: MilestoneCallback) -> MilestoneReached:
    """Return the final message of a run that stopped at a milestone. Otherwise, raise EvaluationInterrupted."""
    if milestones.reached is None:
        raise EvaluationInterrupted
    return MilestoneReached(epoch=milestones.reached)


def _tune_spec(
    spec: JobSpec, packed: PackedDataset, context: JobContext, previous: dict[str, Any]
) -> tuple[JobSpec, JobContext, dict[str, Any]]:
    """Tune the precision, the batch size, the number of threads and the learning rate, if the spec requests it.

    Return the updated spec and context, and the tuning results as metadata to store in the snapshots. If the
    run resumes from a snapshot, `previous` is its metadata, and the results that it contains are used again.
    """
    context, precision = tune_precision(spec, packed, context, previous.get("precision_trials"))
    spec, batch_size = tune_batch_size(spec, packed, context, previous.get("batch_size"))
    context, threads = tune_threads(spec, packed, context, previous.get("thread_trials"))
    spec, lr = tune_lr(spec, packed, context, previous.get("lr_find"))
    return spec, context, precision | batch_size | threads | lr


def _initialize_state(
    run: Run, spec: JobSpec, context: JobContext, previous: dict[str, Any], extension: Extension | None
) -> dict[str, Any]:
    """Restore the state of the job's own snapshot, or of another job's checkpoint.

    Return descriptions of the other job's checkpoint and of the extension as metadata to store in the snapshots.
    """
    if context.start.resume_dir is not None:
        _resume_run(run, Path(context.start.resume_dir), previous, extension)
        extended = {} if extension is None else {EXTENSION: extension.model_dump()}
        return ({"begun": previous["begun"]} if "begun" in previous else {}) | extended
    source = restore_from_checkpoint(run, spec, context.start)
    log_skipped_weights(run, context.channel)
    warn_if_schedule_ended(run, context.channel)
    return source


def _resume_run(run: Run, folder: Path, metadata: dict[str, Any], extension: Extension | None) -> None:
    """Restore a snapshot. A finished run continues if it was extended after the snapshot."""
    if extension is not None and is_first_attempt(extension, metadata):
        num_epochs, has_new_schedule = extension.from_epoch, extension.has_new_schedule
        restore_finished_run(run, folder, num_epochs=num_epochs, has_new_schedule=has_new_schedule)
        return
    snapshot.restore_snapshot(folder, run.network, run.stateful_parts(), run.placement.device)
    run.state.first_epoch = 0 if extension is None else extension.from_epoch


def _build_observers(
    run: Run,
    spec: JobSpec,
    meta: PackedMeta,
    context: JobContext,
    control: tuple[Callback, ...],
    remembered: dict[str, Any],
    curve: LearningCurveCallback,
    history: MetricHistory,
) -> tuple[Callback, ...]:
    """Build the callbacks that report the run to the supervisor, in the order in which they are called.

    `control`: the callbacks that can stop the run, and the one that reports that it is alive.
    """
    start, channel, ranks = context.start, context.channel, DistributedContext()
    metrics = MetricsCallback(channel, run)
    compile_time = (CompileTimeCallback(channel),) if spec.compile else ()
    synchronization = ranks.build_observers(run, spec.seed)
    observers = (*compile_time, *control, metrics, *synchronization)
    if ranks.rank != 0:
        return observers
    checkpoints = CheckpointCallback(
        channel,
        run,
        context.work_dir / "checkpoints",
        context.placement.describe() | {"job_id": start.job_id, "epochs": spec.epochs} | remembered,
        (metrics.flush_pending,),
        description=build_description(start.spec, meta, start.job_id, start.dataset),
        get_metadata=lambda: {HISTORY: history.to_dict()},
        every_s=context.snapshot_every_s,
    )
    return (*observers, curve, checkpoints)


def _build_learning_curve(
    run: Run, history: MetricHistory, context: JobContext, save_artifact: SaveArtifact
) -> LearningCurveCallback:
    channel = context.channel
    return LearningCurveCallback(
        history,
        save_artifact,
        partial(channel.send_log, level="warning"),
        get_best_epoch=lambda: None if run.keep_best is None else run.keep_best.epoch,
        is_preempted=lambda: channel.stop_mode == StopMode.PREEMPT,
    )


def _finish_run(
    run: Run, start: Start, meta: PackedMeta, channel: Channel, keep_alive: KeepAliveCallback
) -> TrainingFinished:
    """Load the best weights, evaluate them, write the bundle and return the final message."""

    def is_interrupted() -> bool:
        keep_alive.send_if_due()
        return channel.stop_mode in IMMEDIATE_STOP_MODES

    metrics = run.load_best_weights(is_interrupted)
    run.guard.check_finite(run.state)
    evaluation = run.evaluate(is_interrupted, metrics)
    for split, values in evaluation.items():
        metrics |= {f"{split}_{name}": value for name, value in values.items() if isinstance(value, float)}
    best = build_best_epoch(run.keep_best)
    folder = Path(start.work_dir) / "bundle"
    folder.mkdir()
    digests = bundle.save_bundle(folder, run.network, build_description(start.spec, meta, start.job_id, start.dataset))
    return TrainingFinished(
        dir=str(folder),
        files=to_file_digests(digests),
        metrics=to_json_floats(metrics),
        evaluation={split: to_json_values(values) for split, values in evaluation.items()},
        num_parameters=count_parameters(run.network),
        stop_reason=run.state.stop_reason,
        best_epoch=None if best is None else best.model_copy(update={"metrics": to_json_floats(metrics)}),
    )
