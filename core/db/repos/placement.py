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

    wishes: frozenset[str]
    slots: int = 1
    num_cuda: int = 0

    @classmethod
    def of(cls, device_names: Collection[str], slots: int) -> "WorkerCapacity":
        """Of a worker with these devices: `cpu`, `cuda:0` and the like."""
        cuda = [name for name in device_names if name.startswith(f"{CUDA}:")]
        kinds = {name.partition(":")[0] for name in device_names}
        return cls(frozenset({"auto", "cpu", *device_names, *kinds}), slots, len(cuda))

    def lacks(self, spec: Mapping[str, Any]) -> str | None:
        """What a job asks for in vain here, in words; None where it could run."""
        wish, count = spec.get("device", "auto"), devices_of(spec)
        if wish not in self.wishes:
            return f"the device {wish!r}"
        if wish.startswith(CUDA) and count > self.num_cuda:
            return f"{count} CUDA devices"
        return f"{count} slots" if count > self.slots else None


def devices_of(spec: Mapping[str, Any]) -> int:
    """How many devices, and hence slots, a stored spec asks for."""
    return int((spec.get("resources") or {}).get("devices", 1))


def is_schedulable_on(offer: WorkerCapacity) -> ColumnElement[bool]:
    """A worker with that offer can do the job."""
    on_cuda = or_(~on_gpu(), _count() <= offer.num_cuda)
    return _device().in_(sorted(offer.wishes)) & on_cuda & (_count() <= offer.slots)


def on_gpu() -> ColumnElement[bool]:
    """The job asks for CUDA, which not every worker has."""
    return _device().like(f"{CUDA}%")


def _device() -> ColumnElement[str]:
    return func.coalesce(JobRow.spec["device"].as_string(), "auto")


def _count() -> ColumnElement[int]:
    return func.coalesce(JobRow.spec[("resources", "devices")].as_integer(), 1)
