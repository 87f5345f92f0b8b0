"""Compares the devices and slots that jobs require with the capacity of workers, in Python and in SQL."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_

from core.db.tables import JobRow

CUDA = "cuda"


class WorkerCapacity(NamedTuple):
    """The devices and slots of a worker.

    Attributes:
        requestable_devices: the values of a job's `device` that the worker supports, such as `auto`, `cpu` or `cuda:0`.
        slots: the number of concurrent trainings. A job uses one slot per device.
        num_cuda: the number of CUDA devices.
    """

    requestable_devices: frozenset[str]
    slots: int = 1
    num_cuda: int = 0

    @classmethod
    def from_devices(cls, device_names: Collection[str], slots: int) -> "WorkerCapacity":
        """Build the capacity of a worker with the given devices, such as `cpu` or `cuda:0`."""
        cuda = [name for name in device_names if name.startswith(f"{CUDA}:")]
        kinds = {name.partition(":")[0] for name in device_names}
        return cls(frozenset({"auto", "cpu", *device_names, *kinds}), slots, len(cuda))

    def find_shortage(self, spec: Mapping[str, Any]) -> str | None:
        """Describe the resource that the worker lacks for a job. Return None if the worker can run the job."""
        device, num_devices = spec.get("device", "auto"), get_num_devices(spec)
        if device not in self.requestable_devices:
            return f"the device {device!r}"
        if device.startswith(CUDA) and num_devices > self.num_cuda:
            return f"{num_devices} CUDA devices"
        return f"{num_devices} slots" if num_devices > self.slots else None


def get_num_devices(spec: Mapping[str, Any]) -> int:
    """Return the number of devices that a job requires. The job uses the same number of slots."""
    return int((spec.get("resources") or {}).get("devices", 1))


def needs_at_most(num_slots: int) -> ColumnElement[bool]:
    """Build an SQL condition that selects the jobs that use no more than this number of slots."""
    return _build_num_devices_column() <= num_slots


def is_schedulable_on(capacity: WorkerCapacity) -> ColumnElement[bool]:
    """Build an SQL condition that selects the jobs that a worker with this capacity can run."""
    is_cuda = _build_device_column().like(f"{CUDA}%")
    on_cuda = or_(~is_cuda, _build_num_devices_column() <= capacity.num_cuda)
    return _build_device_column().in_(sorted(capacity.requestable_devices)) & on_cuda & needs_at_most(capacity.slots)


def _build_device_column() -> ColumnElement[str]:
    return func.coalesce(JobRow.spec["device"].as_string(), "auto")


def _build_num_devices_column() -> ColumnElement[int]:
    return func.coalesce(JobRow.spec[("resources", "devices")].as_integer(), 1)
