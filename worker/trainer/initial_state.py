"""What a training begins with: weights of a file, of a model or of a checkpoint, and what the checkpoint remembers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import InvalidSpec
from core.spec import JobSpec, TrainingSpec
from core.spec.job import PRETRAINED
from models import bundle
from worker.builders import AVERAGES, get_pretrained_weights
from worker.engine import snapshot
from worker.engine.partial_restore import RestoreOptions, restore_partial
from worker.engine.run import Run
from worker.engine.transfer import Weights
from worker.protocol import Start


def load_initial_weights(start: Start) -> Weights | None:
    """The weights that the job is to begin with, if with any but fresh ones.

    Raises:
        InvalidSpec: they cannot be read.
        CannotBuild: they are not installed.
    """
    if not isinstance(start.spec, TrainingSpec):
        return None
    if start.spec.weights == PRETRAINED:
        return get_pretrained_weights(start.spec).load_weights()
    path = start.weights_path or _get_weights_path(start.model_dir or _get_checkpoint_dir(start.spec, start))
    if not path:
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidSpec(f"the weights to begin with cannot be read: {error}") from error


def _get_weights_path(folder: str | None) -> str | None:
    return folder and f"{folder}/{bundle.WEIGHTS}"


def _get_checkpoint_dir(spec: TrainingSpec, start: Start) -> str | None:
    """The folder of the checkpoint whose weights are asked for."""
    return start.initial_checkpoint_dir if spec.resume_from is not None and spec.resume_from.model else None


def restore_from_checkpoint(run: Run, start: Start) -> dict[str, Any]:
    """Let a run that begins take over what is asked of the checkpoint of another job; what is to be told of it.

    Raises:
        BadSnapshot: its files are damaged.
        Unfit: what it remembers does not fit.
    """
    spec = start.spec
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller's match
    if spec.resume_from is None or start.initial_checkpoint_dir is None:
        return {}
    folder = Path(start.initial_checkpoint_dir)
    metadata, source_spec = snapshot.read_metadata(folder), _read_spec(folder)
    resume_from = spec.resume_from
    restore_options = RestoreOptions(
        optimizer=resume_from.optimizer,
        callbacks=resume_from.callbacks,
        schedule=_get_schedule_key(spec.model_dump(mode="json")) == _get_schedule_key(source_spec),
        average=_get_average_name(spec.model_dump(mode="json")) == _get_average_name(source_spec),
        records=resume_from.records,
    )
    restored_parts = (
        restore_partial(run, folder, restore_options)
        if any((resume_from.optimizer, resume_from.callbacks, resume_from.records))
        else []
    )
    source = {
        "job": resume_from.job,
        "checkpoint": resume_from.checkpoint,
        "epoch": metadata["epoch"],
        "step": metadata["step"],
    }
    return {"begun": source | {"went_on": [*(["model"] if resume_from.model else []), *restored_parts]}}


def _read_spec(folder: Path) -> Mapping[str, Any]:
    """That of the job which left the checkpoint."""
    try:
        described = bundle.BundleDescription.model_validate_json((folder / bundle.DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"the checkpoint to begin with does not say what it is of: {error}") from error
    spec: Mapping[str, Any] = described.lineage["spec"]
    return spec


def _get_schedule_key(spec: Mapping[str, Any]) -> tuple[str, str] | None:
    schedule = spec.get("schedule")
    return schedule and (schedule["name"], schedule["call_on"])


def _get_average_name(spec: Mapping[str, Any]) -> str | None:
    names = {kind.model_fields["name"].default for kind in AVERAGES}
    return next((callback["name"] for callback in spec["callbacks"] if callback["name"] in names), None)
