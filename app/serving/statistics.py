"""Statistics of one model since the process started: counts and durations. Unloading the model does not reset them."""

import time
from collections.abc import Callable
from typing import NamedTuple


class StatisticDuration(NamedTuple):
    """A count of events and their total duration in nanoseconds."""

    count: int = 0  # type: ignore[assignment]  # replaces `tuple.count`, which is not used
    ns: int = 0

    def __add__(self, other: object) -> "StatisticDuration":
        if not isinstance(other, StatisticDuration):
            return NotImplemented
        return StatisticDuration(self.count + other.count, self.ns + other.ns)

    def add_event(self, seconds: float) -> "StatisticDuration":
        """Return a new object that also counts an event of `seconds` seconds."""
        return StatisticDuration(self.count + 1, self.ns + round(seconds * 1e9))


class InferenceStatistics:
    """Counts requests and batches. Only the event loop may call `count_` methods; any thread may read the counts."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._batches: dict[int, StatisticDuration] = {}
        self.success = StatisticDuration()
        self.fail = StatisticDuration()
        self.queue = StatisticDuration()
        self.decode = StatisticDuration()
        self.last_inference_ms = 0

    def count_request(self, seconds: float, *, succeeded: bool) -> None:
        """Add a request and its duration."""
        if succeeded:
            self.success = self.success.add_event(seconds)
        else:
            self.fail = self.fail.add_event(seconds)
        self.last_inference_ms = round(self._clock() * 1000)

    def count_wait(self, seconds: float) -> None:
        """Add the queue time of a request."""
        self.queue = self.queue.add_event(seconds)

    def count_decoding(self, seconds: float) -> None:
        """Add the decoding time of a request's images."""
        self.decode = self.decode.add_event(seconds)

    def count_batch(self, size: int, seconds: float) -> None:
        """Add a computed batch and its duration."""
        self._batches[size] = self._batches.get(size, StatisticDuration()).add_event(seconds)

    def list_batches(self) -> list[tuple[int, StatisticDuration]]:
        """Return the number and total duration of the batches of each size, smallest size first."""
        return sorted(self._batches.copy().items())
