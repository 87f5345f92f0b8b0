"""What went wrong in a training, as a code, a message and a hint of what to do about it."""

import errno
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from core.errors import Corrupt, InvalidSpec
from core.spec import AnyJobSpec, TrainingSpec
from models.bundle import BadBundle
from models.registry import CannotBuild, UnknownArchitecture
from models.variants import MissingPackage
from worker.engine.callback import TrainingError
from worker.engine.callbacks import Diverged, NothingToTrain
from worker.engine.device import Unavailable
from worker.engine.losses import UnfitWeights
from worker.engine.optimizers import UnknownParameters
from worker.engine.snapshot import BadSnapshot
from worker.engine.transfer import NothingToTransfer
from worker.protocol import Failed

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class AccuracyDropped(TrainingError):
    """A variant answers worse than its model; `facts` say how much."""

    def __init__(self, message: str, **facts: Any) -> None:  # noqa: ANN401 - JSON values
        super().__init__(message)
        self.facts = facts


class WrongDataset(TrainingError):
    """The packed dataset is not the one that the job was given."""


def explain(error: BaseException, spec: AnyJobSpec | None) -> Failed:
    """The first error in the chain of causes that means something; else "internal"."""
    for cause in _causes(error):
        failed = _recognise(cause, spec)
        if failed is not None:
            return failed
    text = f"{type(error).__name__}: {error}"
    return Failed(
        code="internal", message=text, hint="This is a fault of the trainer; the job's log has the traceback."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _recognise(error: BaseException, spec: AnyJobSpec | None) -> Failed | None:
    text = str(error)
    match error:
        case Diverged(facts=facts):
            hint = "Lower the learning rate, clip gradients, or use fp32; the last finite checkpoint is kept."
            return Failed(code="diverged", message=text, hint=hint, facts=facts)
        case AccuracyDropped(facts=facts):
            hint = "Use another format or precision, more calibration_samples, or allow a larger max_drop."
            return Failed(code="accuracy_dropped", message=text, hint=hint, facts=facts)
        case torch.OutOfMemoryError():
            return Failed(code="gpu_out_of_memory", message=text, hint=_smaller(spec), facts=_sizes(spec))
        case MemoryError():
            return Failed(
                code="host_out_of_memory", message=text or "no memory", hint=_smaller(spec), facts=_sizes(spec)
            )
        case RuntimeError() if "can't allocate memory" in text or "not enough memory" in text:
            return Failed(code="host_out_of_memory", message=text, hint=_smaller(spec), facts=_sizes(spec))
        case OSError(errno=number) if number in NO_ROOM:
            return _disk_full(text)
        case SafetensorError() if "No space left" in text:
            return _disk_full(text)
        case BadSnapshot():
            return Failed(code="checkpoint_corrupt", message=text, hint="Resume from an earlier checkpoint.")
        case Corrupt() | WrongDataset():
            return Failed(code="dataset_corrupt", message=text, hint="Import the dataset again as a new version.")
        case InvalidSpec() | CannotBuild() | UnknownArchitecture() | ValidationError() | Unavailable():
            return Failed(code="invalid_spec", message=text, hint="Change the named part of the job and post it again.")
        case (
            UnfitWeights()
            | UnknownParameters()
            | NothingToTrain()
            | NothingToTransfer()
            | BadBundle()
            | MissingPackage()
        ):
            return Failed(code="invalid_spec", message=text, hint="Change the named part of the job and post it again.")
        case ValueError() if "Expected more than 1 value per channel" in text:
            hint = "Batch norm needs at least two samples in a batch: add pictures, or use a larger batch_size."
            return Failed(code="invalid_spec", message=text, hint=hint)
        case _:
            return None


def _disk_full(text: str) -> Failed:
    hint = "Free some space on the worker or delete old checkpoints; the previous checkpoint is intact."
    return Failed(code="disk_full", message=text, hint=hint)


def _smaller(spec: AnyJobSpec | None) -> str:
    if spec is None:
        return "Use a smaller batch_size or a smaller network."
    return f"Use a batch_size below {spec.batch_size}, smaller pictures, or a smaller network."


def _sizes(spec: AnyJobSpec | None) -> dict[str, object]:
    if spec is None:
        return {}
    network = spec.architecture.name if isinstance(spec, TrainingSpec) else spec.model
    return {"batch_size": spec.batch_size, "architecture": network}
