"""Converts an exception to the failure of a job: a code, a message and a hint for the client."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from core.datasets.packed import PackedDataset
from core.errors import CorruptFile, InvalidSpec
from core.failures import FAILURES
from core.spec import AnyJobSpec, RegisterSpec, TrainingSpec
from core.spec.error_pointers import summarize_error
from models.bundle import BadBundle
from models.logits import NotProbabilities
from models.registry import ArchitectureBuildError, UnknownArchitecture
from models.variants import MissingPackage
from worker.engine.callback import TrainingError
from worker.engine.callbacks import TrainingDiverged
from worker.engine.device import DeviceUnavailable
from worker.engine.losses import InvalidClassWeights
from worker.engine.optimizers import InvalidParameterGroups, UnknownParameters
from worker.engine.partial_restore import IncompatibleCheckpoint
from worker.engine.snapshot_checksums import BadSnapshot
from worker.engine.transfer import NoMatchingWeights
from worker.protocol import RunFailed

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_GPU_MEMORY = ("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")  # in error messages of CUDA libraries
NO_HOST_MEMORY = ("can't allocate memory", "not enough memory")


class AccuracyDropped(TrainingError):
    """Raised if the accuracy of a variant is lower than the job allows. `extra` contains the measured values."""

    def __init__(self, message: str, **extra: Any) -> None:  # noqa: ANN401 - JSON values
        super().__init__(message)
        self.extra = extra


class WrongDataset(TrainingError):
    """Raised if the packed dataset does not have the content hash of the dataset version that the job names."""


def classify_error(error: BaseException, spec: AnyJobSpec | None, dataset_dir: Path | None = None) -> RunFailed:
    """Return the failure for the first known exception in the chain of causes, or `internal` if none is known."""
    for cause in _iterate_causes(error):
        failed = _classify_oom(cause, spec, dataset_dir) or _classify_by_type(cause)
        if failed is not None:
            return failed
    text = f"{type(error).__name__}: {summarize_error(error)}"
    return RunFailed(
        code="internal", message=text, hint="This is an error in the trainer; the worker's log has the traceback."
    )


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _classify_oom(error: BaseException, spec: AnyJobSpec | None, dataset_dir: Path | None) -> RunFailed | None:
    text = str(error)
    match error:
        case torch.OutOfMemoryError():
            code: Literal["gpu_out_of_memory", "host_out_of_memory"] = "gpu_out_of_memory"
        case RuntimeError() if any(word in text for word in NO_GPU_MEMORY):
            code = "gpu_out_of_memory"
        case MemoryError():
            code = "host_out_of_memory"
        case RuntimeError() if any(word in text for word in NO_HOST_MEMORY):
            code = "host_out_of_memory"
        case _:
            return None
    shape = _read_image_shape(dataset_dir)
    return RunFailed(
        code=code, message=text or "out of memory", hint=_suggest_smaller(spec, shape), extra=_get_sizes(spec, shape)
    )


def _classify_by_type(error: BaseException) -> RunFailed | None:
    text = summarize_error(error) if isinstance(error, Exception) else str(error)
    match error:
        case TrainingDiverged(extra=extra):
            return RunFailed(code="diverged", message=text, hint=FAILURES["diverged"].hint, extra=extra)
        case AccuracyDropped(extra=extra):
            hint = "Use another format or precision, more calibration_samples, or allow a larger max_drop."
            return RunFailed(code="accuracy_dropped", message=text, hint=hint, extra=extra)
        case OSError(errno=number) if number in NO_ROOM:
            return _build_disk_full(text)
        case SafetensorError() if "No space left" in text:
            return _build_disk_full(text)
        case BadSnapshot():
            return RunFailed(code="checkpoint_corrupt", message=text, hint="Resume from an earlier checkpoint.")
        case CorruptFile() | WrongDataset():
            return RunFailed(code="dataset_corrupt", message=text, hint="Import the dataset again as a new version.")
        case (
            InvalidSpec()
            | ArchitectureBuildError()
            | UnknownArchitecture()
            | ValidationError()
            | DeviceUnavailable()
            | InvalidClassWeights()
            | InvalidParameterGroups()
            | UnknownParameters()
            | NoMatchingWeights()
            | IncompatibleCheckpoint()
            | BadBundle()
            | MissingPackage()
            | NotProbabilities()
        ):
            hint = "Change the part of the job that the message names, and create the job again."
            return RunFailed(code="invalid_spec", message=text, hint=hint)
        case IndexError() if "index out of range in self" in text:
            message = "A value of the dataset is outside the range of the embedding."
            hint = "The layer `embedding` accepts integers from 0 to num - 1: increase `num`, or check the dataset."
            return RunFailed(code="invalid_spec", message=message, hint=hint)
        case ValueError() if "Expected more than 1 value per channel" in text:
            hint = "Batch norm requires at least two samples per batch: add samples, or use a larger batch_size."
            return RunFailed(code="invalid_spec", message=text, hint=hint)
        case RuntimeError() if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            hint = "Set compile to false. The worker's log has the output of the compiler."
            return RunFailed(code="invalid_spec", message=f"The network cannot be compiled: {text[:500]}", hint=hint)
        case _:
            return None


def _build_disk_full(text: str) -> RunFailed:
    return RunFailed(code="disk_full", message=text, hint=FAILURES["disk_full"].hint)


def _suggest_smaller(spec: AnyJobSpec | None, shape: tuple[int, ...] | None) -> str:
    """Return a hint that lists ways to use less memory. The way with the fewest drawbacks comes first."""
    images = "images" if shape is None else f"images than {'x'.join(map(str, shape))}"
    if spec is None or isinstance(spec, RegisterSpec):
        return f"Use a smaller batch_size, smaller {images}, or a smaller network."
    advice = [f"a batch_size below {spec.batch_size}"]
    if isinstance(spec, TrainingSpec):
        if spec.on_oom == "fail" and spec.resources.devices == 1 and spec.batch_size > 1:
            advice.insert(0, '`"on_oom": "accumulate"`, which makes the same steps with fewer samples in memory')
        if spec.precision == "fp32":
            advice.append('`"precision": "bf16"`')
        advice.append(f"a network smaller than this {spec.architecture.name}")
    return f"Try {', '.join(advice)}, or smaller {images}."


def _get_sizes(spec: AnyJobSpec | None, shape: tuple[int, ...] | None) -> dict[str, object]:
    sizes: dict[str, object] = {} if shape is None else {"image_shape": list(shape)}
    if spec is None or isinstance(spec, RegisterSpec):
        return sizes
    network = spec.architecture.name if isinstance(spec, TrainingSpec) else spec.model
    return sizes | {"batch_size": spec.batch_size, "architecture": network}


def _read_image_shape(dataset_dir: Path | None) -> tuple[int, ...] | None:
    try:
        return None if dataset_dir is None else PackedDataset.open(dataset_dir).meta.image_shape
    except Exception:  # noqa: BLE001 - the hint also works without the shape
        return None
