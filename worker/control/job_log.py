"""Formats the lines of a job's log: what an attempt uses, its epochs, its checkpoints and its outcome."""

import signal
from collections.abc import Iterable, Mapping
from typing import Any

from core.job_log import format_duration
from core.jobs import EPOCH_KINDS
from worker.protocol import BestEpoch, JobCompleted, Metrics, TrainingFinished

STOPPED_BY_USER = "user_finished"
SPLITS = ("train", "valid", "test")
STOP_REQUESTS = {
    "cancel": "A cancellation was requested; the trainer saves its state and stops.",
    "pause": "A pause was requested; the trainer saves its state and stops.",
    "preempt": "The worker stops; the trainer saves its state and stops.",
    "finish": "An early finish was requested; the training ends after this epoch.",
}
RELEASES = {
    "cancelled": "Cancelled",
    "paused": "Paused",
    "finish requested": "An early finish was requested at a milestone, and the job waits for its last attempt",
    "worker left": "The worker stopped, and the job waits for another worker",
    "storage unavailable": "The storage is unavailable, and the job waits for another attempt",
}


def describe_attempt(attempt: int, worker: str, device: str | None) -> str:
    """Return the first line of an attempt. It separates the lines of several attempts."""
    pinned = "" if device is None else f", device {device}"
    return f"Attempt {attempt} started on worker {worker}{pinned}."


def describe_start(spec: Mapping[str, Any], runtime: Mapping[str, Any], *, is_first: bool) -> list[str]:
    """Return lines on the data, the device and the network of an attempt.

    Args:
        spec: the resolved spec of the job.
        runtime: the runtime that the trainer reports.
        is_first: whether no earlier attempt has written these lines. If False, only what can differ is described.
    """
    lines = [_describe_device(runtime)] if "device" in runtime else []
    if is_first:
        lines = [*_describe_dataset(spec, runtime), *lines, *_describe_network(spec, runtime)]
        lines += _describe_training(spec, runtime)
    return [*lines, *_describe_resumption(spec, runtime)]


def _describe_dataset(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> list[str]:
    dataset = spec.get("dataset")
    if not dataset:
        return []
    version = "" if dataset.get("version") is None else f" version {dataset['version']}"
    splits: Mapping[str, int] = runtime.get("splits") or {}
    sizes = ", ".join(f"{size:,} {split}" for split, size in splits.items())
    return [f"Dataset {dataset['name']}{version}" + (f": {sizes} samples." if sizes else ".")]


def _describe_device(runtime: Mapping[str, Any]) -> str:
    name = f" ({runtime['device_name']})" if runtime.get("device_name") else ""
    count = f"{runtime['devices']} processes on " if runtime.get("devices") else ""
    parts = [f"Device: {count}{runtime['device']}{name}"]
    parts += [f"precision {runtime['precision']}"] if "precision" in runtime else []
    parts += [format_count(runtime["threads"], "thread")] if "threads" in runtime else []
    parts += [f"torch {runtime['torch']}"] if "torch" in runtime else []
    return ", ".join(parts) + "."


def _describe_network(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> list[str]:
    count = runtime.get("num_parameters")
    if count is None:
        return []
    architecture = spec.get("architecture")
    subject = f"Network {architecture['name']}" if architecture else f"Model {spec.get('model')}"
    trainable = runtime.get("num_trainable_parameters", count)
    frozen = "" if trainable == count else f", {trainable:,} of them trainable"
    return [f"{subject}: {count:,} parameters{frozen}.", *_describe_initial_weights(spec, runtime)]


def _describe_initial_weights(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> list[str]:
    report = runtime.get("init")
    if report is None:
        return []
    source = spec.get("init_from") or spec.get("weights") or "a checkpoint"
    skipped = sum(len(report.get(kind, ())) for kind in ("missing", "unexpected", "mismatched"))
    rest = f", {skipped} skipped" if skipped else ""
    return [f"Initial weights from {source}: {format_count(len(report.get('loaded', ())), 'tensor')} loaded{rest}."]


def _describe_training(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> list[str]:
    if spec.get("kind", "train") not in EPOCH_KINDS or "steps_per_epoch" not in runtime:
        return []
    batch_size = (runtime.get("batch_size") or {}).get("chosen", spec.get("batch_size"))
    optimizer, schedule, loss = spec.get("optimizer") or {}, spec.get("schedule"), spec.get("loss") or {}
    parts = [f"Training: {format_count(spec['epochs'], 'epoch')} of {format_count(runtime['steps_per_epoch'], 'step')}"]
    parts += [f"batch size {batch_size}"]
    parts += [f"loss {loss['name']}"] if loss.get("name") else []
    lr = optimizer.get("lr")
    parts += [f"optimizer {optimizer.get('name')}" + (f" (lr {lr:g})" if isinstance(lr, int | float) else "")]
    parts += [f"schedule {schedule['name']}"] if schedule else []
    return [", ".join([*parts, f"seed {spec.get('seed')}"]) + ".", *_describe_feature_cache(runtime)]


def _describe_feature_cache(runtime: Mapping[str, Any]) -> list[str]:
    cache = runtime.get("cached_features")
    if not cache or cache["used"]:  # the trainer logs a used cache when it is filled
        return []
    return [f"The outputs of the frozen layers are not cached: {cache['reason']}."]


def _describe_resumption(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> list[str]:
    step = runtime.get("resumed_from_step")
    if step is not None:
        steps_per_epoch = runtime.get("steps_per_epoch")
        epochs = f", after {step // steps_per_epoch} of {spec['epochs']} epochs" if steps_per_epoch else ""
        return [f"Resumes from step {step}{epochs}."]
    source = runtime.get("begun")
    if source is None:
        return []
    restored = ", ".join(source.get("went_on", ()))
    return [f"Starts from checkpoint {source['checkpoint']} of job {source['job']}, which restores: {restored}."]


def describe_first_step(seconds: float) -> str:
    """Return the line of the first step of an attempt, which ended `seconds` after the claim."""
    return f"The first step is complete, {seconds:.2f} s after the worker claimed the job."


def describe_epoch(epoch: Metrics) -> str:
    """Return the line of a complete epoch: its metrics, learning rate and duration."""
    parts = [format_metrics(epoch.latest) or "no metrics"]
    parts += [] if epoch.lr is None else [f"lr {format_number(epoch.lr)}"]
    parts += [] if epoch.epoch_seconds is None else [format_duration(epoch.epoch_seconds)]
    parts += ["new best"] if epoch.is_best else []
    return f"Epoch {epoch.progress.epoch}/{epoch.progress.epochs}: {'; '.join(parts)}."


def describe_checkpoint(number: int, epoch: int, step: int, tags: Iterable[str], size_bytes: int) -> str:
    """Return the line of a stored checkpoint."""
    tagged = f" ({', '.join(tags)})" if tags else ""
    return f"Checkpoint {number} of epoch {epoch}, step {step} is stored: {format_bytes(size_bytes)}{tagged}."


def describe_training_result(finished: TrainingFinished, ref: str | None, *, is_new: bool) -> list[str]:
    """Return lines on the end of a training.

    Args:
        finished: the final message.
        ref: the model version; None if the job registers no model.
        is_new: whether the job registers the version now.
    """
    size = format_bytes(sum(file.size_bytes for file in finished.files.values()))
    parameters = f"{finished.num_parameters:,} parameters, {size}"
    lines = describe_training_end(finished)
    if ref is None:
        return [*lines, f"No model is registered, as requested. The network is kept with the job: {parameters}."]
    lines.append(f"Registered model {ref}: {parameters}." if is_new else f"Model {ref} is unchanged: {parameters}.")
    return lines


def describe_queued_variant(name: str | None) -> str:
    """Return the line on the job that chooses the variant of a new version. `name`: None if there is none."""
    if name is None:
        return "No variant is made: the inputs are not images, or the training has no validation samples."
    return f"Job {name} is queued: it makes the fastest variant of the model."


def describe_training_end(finished: TrainingFinished) -> list[str]:
    """Return lines on why a training ended early, on its best epoch and on its evaluation."""
    lines = []
    if finished.stop_reason == STOPPED_BY_USER:
        lines.append("Stopped early, as requested.")
    elif finished.stop_reason is not None:
        lines.append(f"Stopped early: {finished.stop_reason}.")
    lines += _describe_best_epoch(finished.best_epoch)
    for split, values in finished.evaluation.items():
        numbers = {f"{split}_{name}": value for name, value in values.items() if _is_number(value)}
        if numbers:
            lines.append(f"Evaluation: {format_metrics(numbers)}.")
    return lines


def _describe_best_epoch(best: BestEpoch | None) -> list[str]:
    if best is None or best.epoch is None:
        return []
    return [f"The weights of epoch {best.epoch}, the best one, are used."]


def describe_result(completed: JobCompleted) -> list[str]:
    """Return lines on the result of a job that trains no model."""
    lines = [f"Result: {format_metrics(completed.metrics)}."] if completed.metrics else []
    counts = {name: completed.result.get(name) for name in ("num_samples", "num_pictures", "num_failed", "num_ignored")}
    labels = {
        "num_samples": "samples",
        "num_pictures": "images",
        "num_failed": "not readable",
        "num_ignored": "ignored",
    }
    numbers = [f"{count:,} {labels[name]}" for name, count in counts.items() if isinstance(count, int)]
    if numbers:
        lines.append(f"Processed: {', '.join(numbers)}.")
    if completed.files:
        lines.append(f"Files: {', '.join(sorted(completed.files))}.")
    return lines


def describe_success(running_s: float, attempt: int) -> str:
    """Return the last line of a job that succeeded."""
    return f"Succeeded after {format_duration(running_s)} of running time in {format_count(attempt, 'attempt')}."


def describe_release(reason: str, running_s: float) -> str:
    """Return the last line of an attempt that stopped as requested."""
    return f"{RELEASES.get(reason, reason)}, after {format_duration(running_s)} of running time."


def describe_milestone(epoch: int, running_s: float) -> str:
    """Return the last line of an attempt that stopped at a milestone."""
    return f"Paused at the milestone of epoch {epoch}, after {format_duration(running_s)} of running time."


def describe_exit(status: int, stderr: str) -> str:
    """Return a sentence on a trainer that exited without a result, with the last line of its stderr."""
    cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    output = f"; its last line of output: {lines[-1]}" if lines else ""
    return f"The trainer exited with {cause} without a result{output}"


def format_metrics(metrics: Mapping[str, float | str]) -> str:
    """Format metrics by split, for example `train loss 0.41; valid loss 0.39, accuracy 0.91`."""
    groups: dict[str, list[str]] = {}
    for name, value in metrics.items():
        split, separator, rest = name.partition("_")
        group, label = (split, rest) if separator and split in SPLITS else ("", name)
        groups.setdefault(group, []).append(f"{label} {format_number(value)}")
    return "; ".join(f"{split} {', '.join(values)}".lstrip() for split, values in groups.items())


def format_number(value: float | str) -> str:
    """Format a number with four significant digits. Values that are not finite are strings already."""
    return value if isinstance(value, str) else f"{value:.4g}"


def format_bytes(size: int) -> str:
    """Format a size such as `0.4 MB`."""
    return f"{size / 1e3:.1f} kB" if size < 100_000 else f"{size / 1e6:,.1f} MB"


def format_count(count: int, noun: str) -> str:
    """Format a number with a noun in the singular or plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")
