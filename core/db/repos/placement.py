"""What a job needs of a worker, as conditions on its row."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_

from core.db.tables import JobRow

CUDA = "cuda"


class WorkerCapacity(NamedTuple):
    """What a worker has for jobs.

    Attributes:
        wishes: devices that a job may ask for to be at home here: `auto`, `cpu`, `cuda`, `cuda:0` and the like.
        slots: trainings at a time; a job on several devices takes one for each.
        num_cuda: CUDA devices.
    """

    requestable_devices: frozenset[str]
    slots: int = 1
    num_cuda: int = 0

    @classmethod
    def from_devices(cls, device_names: Collection[str], slots: int) -> "WorkerCapacity":
        """Of a worker with these devices: `cpu`, `cuda:0` and the like."""
        cuda = [name for name in device_names if name.startswith(f"{CUDA}:")]
        kinds = {name.partition(":")[0] for name in device_names}
        return cls(frozenset({"auto", "cpu", *device_names, *kinds}), slots, len(cuda))

    def find_shortage(self, spec: Mapping[str, Any]) -> str | None:
        """What a job asks for in vain here, in words; None where it could run."""
        device, num_devices = spec.get("device", "auto"), get_num_devices(spec)
        if device not in self.requestable_devices:
            return f"the device {device!r}"
        if device.startswith(CUDA) and num_devices > self.num_cuda:
            return f"{num_devices} CUDA devices"
        return f"{num_devices} slots" if num_devices > self.slots else None


def get_num_devices(spec: Mapping[str, Any]) -> int:
    """How many devices, and hence slots, a stored spec asks for."""
    return int((spec.get("resources") or {}).get("devices", 1))


def is_schedulable_on(capacity: WorkerCapacity) -> ColumnElement[bool]:
    """A worker with that offer can do the job."""
    on_cuda = or_(~requires_gpu(), _build_num_devices_column() <= capacity.num_cuda)
    return (
        _build_device_column().in_(sorted(capacity.requestable_devices))
        & on_cuda
        & (_build_num_devices_column() <= capacity.slots)
    )


def requires_gpu() -> ColumnElement[bool]:
    """The job asks for CUDA, which not every worker has."""
    return _build_device_column().like(f"{CUDA}%")


def _build_device_column() -> ColumnElement[str]:
    return func.coalesce(JobRow.spec["device"].as_string(), "auto")


def _build_num_devices_column() -> ColumnElement[int]:
    return func.coalesce(JobRow.spec[("resources", "devices")].as_integer(), 1)
