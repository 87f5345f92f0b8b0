"""What one network has answered since the process began: counts and times, kept while it comes and goes."""

import time
from collections.abc import Callable
from typing import NamedTuple


class StatisticDuration(NamedTuple):
    """How often something happened, and how long it took in all."""

    count: int = 0  # type: ignore[assignment]  # hides the method of tuples, which nobody needs here
    ns: int = 0

    def __add__(self, other: object) -> "StatisticDuration":
        if not isinstance(other, StatisticDuration):
            return NotImplemented
        return StatisticDuration(self.count + other.count, self.ns + other.ns)

    def record(self, seconds: float) -> "StatisticDuration":
        """It happened once more, and took so long."""
        return StatisticDuration(self.count + 1, self.ns + round(seconds * 1e9))


class InferenceStatistics:
    """Requests are counted on the event loop, batches by the one thread that computes them; anyone may read."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._batches: dict[int, StatisticDuration] = {}
        self.success = StatisticDuration()
        self.fail = StatisticDuration()
        self.queue = StatisticDuration()
        self.decode = StatisticDuration()
        self.last_inference_ms = 0

    def count_request(self, seconds: float, *, succeeded: bool) -> None:
        """A caller was answered, or was not."""
        if succeeded:
            self.success = self.success.record(seconds)
        else:
            self.fail = self.fail.record(seconds)
        self.last_inference_ms = round(self._clock() * 1000)

    def count_wait(self, seconds: float) -> None:
        """A caller's pictures have waited for the network."""
        self.queue = self.queue.record(seconds)

    def count_decoding(self, seconds: float) -> None:
        """A caller's pictures were files, and have been decoded."""
        self.decode = self.decode.record(seconds)

    def count_batch(self, size: int, seconds: float) -> None:
        """The network has computed a batch."""
        self._batches[size] = self._batches.get(size, StatisticDuration()).record(seconds)

    def batches(self) -> list[tuple[int, StatisticDuration]]:
        """How often batches of each size were computed, the smallest first."""
        return sorted(self._batches.copy().items())
