"""What trainers on this machine can compute on, and which attempt has which device. It looks at none: it is told."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from worker.standby import Standby

CUDA = "cuda"
Pin = Callable[[int], Standby]
"""A started standby whose trainers see only the CUDA device of that number, as `cuda:0`."""


class Lent(NamedTuple):
    """A device for one attempt.

    Attributes:
        name: as this worker calls it; None where the trainer may choose.
        standby: whose trainers see no other device; None where any trainer will do.
    """

    name: str | None = None
    standby: Standby | None = None


class Devices:
    """Where there are several CUDA devices, attempts get the one that the fewest others have."""

    def __init__(self, pin: Pin | None = None) -> None:
        self._pin = pin
        self._mutex = threading.Lock()
        self._names: tuple[str, ...] = ("cpu",)
        self._lent: Counter[str] = Counter()
        self._standbys: dict[str, Standby] = {}

    def find(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """These are there: {name, …} each, CUDA devices numbered from `cuda:0`."""
        with self._mutex:
            self._names = tuple(str(device["name"]) for device in devices)

    @property
    def wishes(self) -> frozenset[str]:
        """What a job may ask for to be at home here: names, kinds, and `auto`."""
        names = {"auto", "cpu", *self._names}
        return frozenset(names | {name.partition(":")[0] for name in names})

    @contextmanager
    def lend(self, wish: str) -> Iterator[Lent]:
        """A device for a job that asks for `auto`, `cuda`, `cuda:1` and the like."""
        with self._mutex:
            name = self._choose(wish)
            self._lent[name] += 1
        try:
            yield Lent() if name == "" else Lent(name, self._standby_of(name))
        finally:
            with self._mutex:
                self._lent[name] -= 1

    def close(self) -> None:
        """End the waiting trainers."""
        with self._mutex:
            standbys, self._standbys = self._standbys, {}
        for standby in standbys.values():
            standby.close()

    def _choose(self, wish: str) -> str:
        cuda = [name for name in self._names if name.startswith(f"{CUDA}:")]
        if self._pin is None or len(cuda) < 2:
            return ""
        if wish in cuda:
            return wish
        return min(cuda, key=lambda name: self._lent[name]) if wish in {"auto", CUDA} else ""

    def _standby_of(self, name: str) -> Standby | None:
        with self._mutex:
            if self._pin is not None and name not in self._standbys:
                self._standbys[name] = self._pin(int(name.partition(":")[2]))
            return self._standbys.get(name)
