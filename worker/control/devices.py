"""What trainers on this machine can compute on, and which attempt has which device. It looks at none: it is told."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from core.db.repos.placement import WorkerCapacity
from worker.control.standby import Standby

CUDA = "cuda"
Pin = Callable[[int], Standby]
"""A started standby whose trainers see only the CUDA device of that number, as `cuda:0`."""


class DeviceLease(NamedTuple):
    """A device for one attempt.

    Attributes:
        name: as this worker calls it; None where the trainer may choose.
        standby: whose trainers see no other device; None where any trainer will do.
        several: one for each of the attempt's processes, where they are not to choose.
    """

    name: str | None = None
    standby: Standby | None = None
    several: tuple[str, ...] = ()

    def to_start_fields(self) -> dict[str, Any]:
        """What the trainer is told: one whose device is pinned sees no other."""
        return {"device": None if self.name is None else f"{CUDA}:0", "devices": self.several}


class DeviceAllocator:
    """Where there are several CUDA devices, attempts get the one that the fewest others have."""

    def __init__(self, pin: Pin | None = None, slots: int = 1) -> None:
        self._pin, self._slots = pin, slots
        self._mutex = threading.Lock()
        self._names: tuple[str, ...] = ("cpu",)
        self._lent: Counter[str] = Counter()
        self._standbys: dict[str, Standby] = {}

    def find(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """These are there: {name, …} each, CUDA devices numbered from `cuda:0`."""
        with self._mutex:
            self._names = tuple(str(device["name"]) for device in devices)

    @property
    def capacity(self) -> WorkerCapacity:
        """What a job may ask for to be at home here."""
        return WorkerCapacity.of(self._names, self._slots)

    @contextmanager
    def allocate(self, wish: str, count: int = 1) -> Iterator[DeviceLease]:
        """A device, or several, for a job that asks for `auto`, `cuda`, `cuda:1` and the like."""
        with self._mutex:
            names = self._choose(wish, count)
            self._lent.update(names)
        try:
            if count > 1:
                yield DeviceLease(several=tuple(names))
            else:
                yield DeviceLease(names[0], self._standby_of(names[0])) if names else DeviceLease()
        finally:
            with self._mutex:
                self._lent.subtract(names)

    def close(self) -> None:
        """End the waiting trainers."""
        with self._mutex:
            standbys, self._standbys = self._standbys, {}
        for standby in standbys.values():
            standby.close()

    def _choose(self, wish: str, count: int) -> list[str]:
        cuda = [name for name in self._names if name.startswith(f"{CUDA}:")]
        if self._pin is None or len(cuda) < 2:
            return []
        if wish in cuda:
            return [wish]
        if wish not in {"auto", CUDA} or len(cuda) < count:
            return []
        return sorted(cuda, key=lambda name: self._lent[name])[:count]

    def _standby_of(self, name: str) -> Standby | None:
        with self._mutex:
            if self._pin is not None and name not in self._standbys:
                self._standbys[name] = self._pin(int(name.partition(":")[2]))
            return self._standbys.get(name)
