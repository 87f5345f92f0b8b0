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
from worker.builders import AVERAGES, pretrained
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
        return pretrained(start.spec).load()
    path = start.weights_path or _weights_in(start.model_dir or _checkpoint_of(start.spec, start))
    if not path:
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidSpec(f"the weights to begin with cannot be read: {error}") from error


def _weights_in(folder: str | None) -> str | None:
    return folder and f"{folder}/{bundle.WEIGHTS}"


def _checkpoint_of(spec: TrainingSpec, start: Start) -> str | None:
    """The folder of the checkpoint whose weights are asked for."""
    return start.begin_dir if spec.resume_from is not None and spec.resume_from.model else None


def restore_from_checkpoint(run: Run, start: Start) -> dict[str, Any]:
    """Let a run that begins take over what is asked of the checkpoint of another job; what is to be told of it.

    Raises:
        BadSnapshot: its files are damaged.
        Unfit: what it remembers does not fit.
    """
    spec = start.spec
    assert isinstance(spec, JobSpec)  # noqa: S101 - the caller's match
    if spec.resume_from is None or start.begin_dir is None:
        return {}
    folder = Path(start.begin_dir)
    words, theirs = snapshot.read_metadata(folder), _spec_of(folder)
    asked = spec.resume_from
    wanted = RestoreOptions(
        optimizer=asked.optimizer,
        callbacks=asked.callbacks,
        schedule=_schedule(spec.model_dump(mode="json")) == _schedule(theirs),
        average=_average(spec.model_dump(mode="json")) == _average(theirs),
        records=asked.records,
    )
    went_on = restore_partial(run, folder, wanted) if any((asked.optimizer, asked.callbacks, asked.records)) else []
    told = {"job": asked.job, "checkpoint": asked.checkpoint, "epoch": words["epoch"], "step": words["step"]}
    return {"begun": told | {"went_on": [*(["model"] if asked.model else []), *went_on]}}


def _spec_of(folder: Path) -> Mapping[str, Any]:
    """That of the job which left the checkpoint."""
    try:
        described = bundle.Description.model_validate_json((folder / bundle.DESCRIPTION).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"the checkpoint to begin with does not say what it is of: {error}") from error
    spec: Mapping[str, Any] = described.lineage["spec"]
    return spec


def _schedule(spec: Mapping[str, Any]) -> tuple[str, str] | None:
    schedule = spec.get("schedule")
    return schedule and (schedule["name"], schedule["call_on"])


def _average(spec: Mapping[str, Any]) -> str | None:
    names = {kind.model_fields["name"].default for kind in AVERAGES}
    return next((callback["name"] for callback in spec["callbacks"] if callback["name"] in names), None)
