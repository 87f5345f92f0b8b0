"""Allocates the worker's devices to attempts. The heartbeat thread detects the devices."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from core.db.repos.placement import WorkerCapacity
from worker.control.standby import Standby

CUDA = "cuda"
StandbyFactory = Callable[[int, int], Standby]
"""Starts a standby for the CUDA device with the given index and a number of slots.

Its trainers see only that device, as `cuda:0`.
"""


class DeviceAllocation(NamedTuple):
    """The devices of one attempt.

    Attributes:
        name: the device, such as `cuda:1`. The index is that of the worker process. None: the trainer chooses a device.
        trainers: starts trainers that can use only this device. None: use the worker's common source of trainers.
        process_devices: the devices of a distributed run, one per process. Empty: the trainer chooses the devices.
    """

    name: str | None = None
    trainers: Standby | None = None
    process_devices: tuple[str, ...] = ()

    def to_start_fields(self) -> dict[str, Any]:
        """Return the device fields of the start message. A trainer that can use only one GPU sees it as `cuda:0`."""
        return {"device": None if self.name is None else f"{CUDA}:0", "devices": self.process_devices}


class DeviceAllocator:
    """Allocates CUDA devices to attempts: the requested device, or the devices with the fewest running attempts.

    The allocation is empty if the job requests a device other than CUDA, or if the machine has fewer than two CUDA
    devices. The trainer then chooses its device.

    Args:
        start_standby: starts the trainers of a device. Default: no devices are allocated.
        slots: the number of slots of the worker.
        common_standby: the trainers for all other jobs. It has a single one until the devices are known, and only on
            a machine with fewer than two CUDA devices one for each slot.
    """

    def __init__(
        self, start_standby: StandbyFactory | None = None, slots: int = 1, common_standby: Standby | None = None
    ) -> None:
        self._start_standby = start_standby
        self._slots = slots
        self._common_standby = common_standby
        self._mutex = threading.Lock()
        self._names: tuple[str, ...] = ("cpu",)
        self._num_attempts: Counter[str] = Counter()
        self._standbys: dict[str, Standby] = {}

    def set_devices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Set the devices of this machine, and start trainers for each of several CUDA devices.

        Each device is a mapping with a `name`, such as `cpu` or `cuda:0`.
        """
        with self._mutex:
            self._names = tuple(str(device["name"]) for device in devices)
            if self._start_standby is None or len(self._cuda_names) < 2:
                if self._common_standby is not None:
                    self._common_standby.set_slots(self._slots)
                return
            slots = math.ceil(self._slots / len(self._cuda_names))
            for name in self._cuda_names:
                if name not in self._standbys:
                    self._standbys[name] = self._start_standby(int(name.partition(":")[2]), slots)

    @property
    def _cuda_names(self) -> list[str]:
        return [name for name in self._names if name.startswith(f"{CUDA}:")]

    @property
    def capacity(self) -> WorkerCapacity:
        """Return the devices and the number of slots that a job can request from this worker."""
        return WorkerCapacity.from_devices(self._names, self._slots)

    @contextmanager
    def allocate(self, requested: str, count: int = 1) -> Iterator[DeviceAllocation]:
        """Allocate `count` devices until the context is closed.

        Args:
            requested: the `device` of the job's spec, such as `auto`, `cuda` or `cuda:1`.
            count: the number of devices, one per process of the job. Default: 1.
        """
        with self._mutex:
            names = self._choose_devices(requested, count)
            self._num_attempts.update(names)
        try:
            if count > 1:
                yield DeviceAllocation(process_devices=tuple(names))
            else:
                yield DeviceAllocation(names[0], self._standbys.get(names[0])) if names else DeviceAllocation()
        finally:
            with self._mutex:
                self._num_attempts.subtract(names)

    def close(self) -> None:
        """Stop the waiting trainers of all devices."""
        with self._mutex:
            standbys, self._standbys = self._standbys, {}
        for standby in standbys.values():
            standby.close()

    def _choose_devices(self, requested: str, count: int) -> list[str]:
        cuda = self._cuda_names
        if self._start_standby is None or len(cuda) < 2:
            return []
        if requested in cuda:
            return [requested]
        if requested not in {"auto", CUDA} or len(cuda) < count:
            return []
        return sorted(cuda, key=lambda name: self._num_attempts[name])[:count]
