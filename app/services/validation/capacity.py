"""Compares the devices and slots that a job requires with the devices and slots of live workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.services.validation.model_job import ModelJobContext
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.db.queue_tables import WorkerRow
from core.db.repos.placement import WorkerCapacity

NO_WORKER = "No worker is alive."


def list_capacities(workers: Sequence[WorkerRow]) -> list[WorkerCapacity]:
    """Return the capacity of each worker."""
    return [
        WorkerCapacity.from_devices([str(device["name"]) for device in worker.devices], worker.slots)
        for worker in workers
    ]


def check_device(context: TrainingContext | ModelJobContext, report: ValidationReport) -> None:
    """Check that a live worker has the requested device, and that the device supports the requested precision."""
    spec, devices = context.job.spec, context.job.devices
    if spec.device not in {"auto", "cpu"} and spec.device not in devices:
        available = ", ".join(sorted(devices)) or "none"
        report.add("/device", f"no worker has {spec.device!r}; available: {available}")
    if spec.precision == "fp16" and (spec.device == "cpu" or (spec.device == "auto" and not devices - {"cpu"})):
        report.add("/precision", "'fp16' requires a GPU; use 'auto', 'fp32' or 'bf16' on a CPU")


def check_capacity(context: TrainingContext, report: ValidationReport) -> None:
    """Check that one live worker has enough slots and devices. If no worker is live, the job is accepted and waits."""
    spec, capacities = context.spec, context.job.capacities
    count = spec.resources.devices
    if count == 1 or not capacities:
        return
    missing = _find_missing(spec.model_dump(include={"device", "resources"}), capacities)
    if missing:
        report.add(
            "/resources/devices",
            f"is {count}, but no worker has {' or '.join(missing)}; the largest has "
            f"{max(capacity.slots for capacity in capacities)} slots (CANDELA_SLOTS) and "
            f"{max(capacity.num_cuda for capacity in capacities)} CUDA devices",
        )


def get_pending_reason(spec: Mapping[str, Any], capacities: Sequence[WorkerCapacity]) -> str | None:
    """Return the reason why no live worker can run the job; None if at least one worker can run it."""
    if not capacities:
        return NO_WORKER
    missing = _find_missing(spec, capacities)
    return f"No live worker has {' or '.join(missing)}." if missing else None


def _find_missing(spec: Mapping[str, Any], capacities: Sequence[WorkerCapacity]) -> list[str]:
    """Return the resources that the workers lack to run the job; empty if at least one worker can run it."""
    results = [capacity.find_shortage(spec) for capacity in capacities]
    return sorted({lack for lack in results if lack is not None}) if None not in results else []
