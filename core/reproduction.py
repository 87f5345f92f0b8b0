"""Derives the spec that repeats a training, and compares the environments of two trainings."""

from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from core.environment import ENVIRONMENT_FIELDS
from core.spec.callback_base import CallbackBase
from core.spec.callbacks import CallbackSpec

USER_FINISHED = "user_finished"
"""The `stop_reason` of a training that a user finished early."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
"""Two metrics a and b are equal if |a - b| <= absolute + relative * |a|: the defaults of `numpy.allclose`."""
_CALLBACKS: dict[str, type[CallbackBase]] = {
    kind.model_fields["name"].default: kind for kind in get_args(get_args(CallbackSpec)[0])
}
# `num_parameters` describes the network, and `worker` is another one for every process.
_COMPARED_FIELDS = tuple(name for name in ENVIRONMENT_FIELDS if name not in ("num_parameters", "worker"))


class OriginalTraining(NamedTuple):
    """A training to repeat.

    Attributes:
        job_id: the job, which may have been deleted.
        sha256: the hash of the weights that it trained.
        model: the model version with these weights, as `name@version`; None if there is none.
        spec: its resolved spec; None if neither the job nor the model version exists.
        dataset: the dataset version that it read: name, version and content hash.
        metrics: the metrics of the weights.
        runtime: what the trainer reported; None if the job was deleted.
        stop_reason: why it ended before its last epoch, if it did.
        num_steps: the number of its optimizer steps, if it is known.
        is_extended: whether it was extended by more epochs.
        has_curves: whether its curves are stored: neither the job nor the points of its curves were deleted.
    """

    job_id: str
    sha256: str
    model: str | None = None
    spec: Mapping[str, Any] | None = None
    dataset: Mapping[str, Any] = {}
    metrics: Mapping[str, Any] = {}
    runtime: Mapping[str, Any] | None = None
    stop_reason: str | None = None
    num_steps: int | None = None
    is_extended: bool = False
    has_curves: bool = False


def build_reproduction_spec(original: OriginalTraining) -> dict[str, Any]:
    """Return the spec of a job that repeats a training.

    What the training chose while it ran, and what changes its results, is fixed: the device, the precision, the number
    of threads, and the batch size and learning rate that a search found. Limits of time are removed. If one of them or
    a user can have ended the training early, the job ends at the same step.
    """
    spec, runtime = dict(original.spec or {}), original.runtime or {}
    callbacks = spec.get("callbacks", ())
    spec["callbacks"] = [each for each in callbacks if not _get_kind(each).ends_after_time]
    is_limited = len(spec["callbacks"]) < len(callbacks)
    if spec.get("device", "auto") == "auto" and "device" in runtime:
        spec["device"] = str(runtime["device"]).partition(":")[0]
    spec |= {name: runtime[name] for name in ("precision", "threads") if name in runtime}
    if "batch_size" in runtime:
        spec["batch_size"] = runtime["batch_size"]["chosen"]
        spec["callbacks"] = [each for each in spec["callbacks"] if _get_kind(each).tuned_field != "batch_size"]
    if "lr_find" in runtime and spec.get("schedule"):
        spec["schedule"] = {**spec["schedule"], "max_lr": runtime["lr_find"]["suggestion"]}
    return spec | {
        "kind": "reproduce",
        "name": f"reproduce-{spec.get('name')}"[:63],
        "original": {"job": original.job_id, "sha256": original.sha256},
        "stop_after_step": original.num_steps if _has_fixed_end(original, is_limited) else None,
        "max_runtime_s": None,
        "milestones": None,
        "register": False,
    }


def _get_kind(callback: Mapping[str, Any]) -> type[CallbackBase]:
    return _CALLBACKS.get(callback["name"], CallbackBase)  # a version of the past may have had other callbacks


def _has_fixed_end(original: OriginalTraining, is_limited: bool) -> bool:
    """Return whether a user or a limit of time may have ended the training: the same spec alone would end elsewhere.

    If something else ended a training with a limit, such as early stopping, it would end at the same step anyway.
    """
    return original.stop_reason == USER_FINISHED or (original.stop_reason is not None and is_limited)


def list_environment_differences(original: Mapping[str, Any], reproduced: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of two runtimes that can explain different results and that differ, with both values."""
    return [
        {"field": name, "original": original.get(name), "reproduced": reproduced.get(name)}
        for name in _COMPARED_FIELDS
        if original.get(name) != reproduced.get(name)
    ]


def assume_runtime(original: Mapping[str, Any], reproduced: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training chose while it ran, as far as the spec of its reproduction has it.

    It is needed if the job of the original was deleted after the reproduction was submitted.
    """
    chosen = {
        name: reproduced.get(name)
        for name in ("device", "precision", "threads")
        if original.get(name, "auto") == "auto"
    }
    if _tunes_batch_size(original) and not _tunes_batch_size(reproduced):
        chosen["batch_size"] = {"chosen": reproduced.get("batch_size")}
    if (original.get("schedule") or {}).get("max_lr") == "auto":
        chosen["lr_find"] = {"suggestion": (reproduced.get("schedule") or {}).get("max_lr")}
    return chosen


def _tunes_batch_size(spec: Mapping[str, Any]) -> bool:
    return any(_get_kind(each).tuned_field == "batch_size" for each in spec.get("callbacks", ()))
