"""Loads the initial state of a training: weights from a file, model or checkpoint, and state from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import InvalidSpec
from core.spec import JobSpec, RegisterSpec, TrainingSpec
from core.spec.callbacks import CallbackSpec
from core.spec.job import PRETRAINED
from models import bundle
from worker.builders import get_pretrained_weights
from worker.engine import snapshot
from worker.engine.callbacks import LrSchedulerCallback
from worker.engine.partial_restore import RestoreOptions, restore_partial
from worker.engine.run import Run
from worker.engine.transfer import Weights
from worker.protocol import Start
from worker.trainer.channel import Channel

MAX_NAMES = 20
AVERAGES = frozenset(
    kind.model_fields["name"].default for kind in get_args(get_args(CallbackSpec)[0]) if kind.averages_weights
)
"""Names of the callbacks that average weights."""


def load_initial_weights(start: Start) -> Weights | None:
    """Load the initial weights of the job. Return None if the job starts with random weights.

    Raises:
        InvalidSpec: the weights cannot be read.
        ArchitectureBuildError: the package that provides the pretrained weights is not installed.
    """
    if not isinstance(start.spec, TrainingSpec | RegisterSpec):
        return None
    if start.spec.weights == PRETRAINED:
        return get_pretrained_weights(start.spec).load_weights()
    path = start.weights_path or _get_weights_path(start.model_dir or _get_checkpoint_dir(start.spec, start))
    if not path:
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        hint = ""
        if start.weights_path and _is_pytorch_file(Path(start.weights_path)):
            name = start.spec.architecture.name
            hint = f". It is a PyTorch file; convert it: candela weights convert FILE --architecture {name}"
        raise InvalidSpec(f"The initial weights cannot be read: {error}{hint}") from error


def _is_pytorch_file(path: Path) -> bool:
    """Return whether a file starts like a file of `torch.save`: a zip archive, or a pickle of earlier versions."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith((b"PK\x03\x04", b"\x80\x02"))
    except OSError:
        return False


def _get_weights_path(folder: str | None) -> str | None:
    return folder and f"{folder}/{bundle.WEIGHTS}"


def _get_checkpoint_dir(spec: TrainingSpec | RegisterSpec, start: Start) -> str | None:
    """Return the folder of the checkpoint in `resume_from` if the job requests the checkpoint's weights, else None."""
    resume_from = spec.resume_from if isinstance(spec, TrainingSpec) else None
    return start.initial_checkpoint_dir if resume_from is not None and resume_from.model else None


def log_skipped_weights(run: Run, channel: Channel) -> None:
    """Log the names of the initial weights that were not loaded."""
    if run.load_report is None:
        return
    skipped = {
        "missing": run.load_report.missing,
        "unexpected": run.load_report.unexpected,
        "mismatched": run.load_report.mismatched,
    }
    for kind, names in skipped.items():
        if names:
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            channel.send_log(
                f"Initial weights: {len(names)} {kind} tensors: {', '.join(names[:MAX_NAMES])}{more}.", "warning"
            )


def warn_if_schedule_ended(run: Run, channel: Channel) -> None:
    """Warn if the schedule was restored at its end, because all epochs then use its final learning rate."""
    if any(isinstance(callback, LrSchedulerCallback) and callback.has_ended for callback in run.callbacks):
        lr = run.optimizer.param_groups[0]["lr"]
        channel.send_log(
            f"The restored schedule has ended: its final learning rate, {lr:g}, is used for the whole training. To "
            f"start the schedule again, set callbacks of resume_from to false.",
            "warning",
        )


def restore_from_checkpoint(run: Run, spec: JobSpec, start: Start) -> dict[str, Any]:
    """Restore the parts of another job's checkpoint that `resume_from` requests.

    Return a description of the checkpoint and the restored parts, to store in the job's `runtime`.

    Raises:
        BadSnapshot: the files of the checkpoint are damaged.
        IncompatibleCheckpoint: the checkpoint's state is not compatible with the run.
    """
    if spec.resume_from is None or start.initial_checkpoint_dir is None:
        return {}
    folder = Path(start.initial_checkpoint_dir)
    metadata, resume_from = snapshot.read_metadata(folder), spec.resume_from
    options = _build_restore_options(spec, _read_spec(folder))
    restored_parts = ["model"] if resume_from.model else []
    if options.optimizer or options.callbacks or options.records:
        restored_parts += restore_partial(run, folder, options)
    source = {
        "job": resume_from.job,
        "checkpoint": resume_from.checkpoint,
        "epoch": metadata["epoch"],
        "step": metadata["step"],
    }
    return {"begun": source | {"went_on": restored_parts}}


def _build_restore_options(spec: JobSpec, source: Mapping[str, Any]) -> RestoreOptions:
    """Return the parts of the checkpoint to restore.

    The schedule is restored only if both jobs use the same kind of schedule. The same applies to weight averaging.
    """
    assert spec.resume_from is not None  # noqa: S101 - the caller checks it
    target = spec.model_dump(mode="json")
    return RestoreOptions(
        optimizer=spec.resume_from.optimizer,
        callbacks=spec.resume_from.callbacks,
        schedule=_get_schedule_key(target) == _get_schedule_key(source),
        average=_get_average_name(target) == _get_average_name(source),
        records=spec.resume_from.records,
    )


def _read_spec(folder: Path) -> Mapping[str, Any]:
    """Return the spec of the job that wrote the checkpoint.

    The spec is not validated, because an older version of the service may have written it.
    """
    try:
        description = bundle.BundleDescription.model_validate_json((folder / bundle.DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"The bundle.json of the initial checkpoint cannot be read: {error}") from error
    spec: Mapping[str, Any] = description.lineage["spec"]
    return spec


def _get_schedule_key(spec: Mapping[str, Any]) -> tuple[str, str] | None:
    schedule = spec.get("schedule")
    return schedule and (schedule["name"], schedule["call_on"])


def _get_average_name(spec: Mapping[str, Any]) -> str | None:
    return next((callback["name"] for callback in spec["callbacks"] if callback["name"] in AVERAGES), None)
