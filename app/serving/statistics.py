"""What one network has answered since the process began: counts and times, kept while it comes and goes."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Duration(NamedTuple):
    """How often something happened, and how long it took in all."""

    count: int = 0  # type: ignore[assignment]  # hides the method of tuples, which nobody needs here
    ns: int = 0

    def __add__(self, other: object) -> "Duration":
        if not isinstance(other, Duration):
            return NotImplemented
        return Duration(self.count + other.count, self.ns + other.ns)

    def and_once(self, seconds: float) -> "Duration":
        """It happened once more, and took so long."""
        return Duration(self.count + 1, self.ns + round(seconds * 1e9))


class Tally:
    """Requests are counted on the event loop, batches by the one thread that computes them; anyone may read."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._batches: dict[int, Duration] = {}
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.decode = Duration()
        self.last_inference_ms = 0

    def count_request(self, seconds: float, *, succeeded: bool) -> None:
        """A caller was answered, or was not."""
        if succeeded:
            self.success = self.success.and_once(seconds)
        else:
            self.fail = self.fail.and_once(seconds)
        self.last_inference_ms = round(self._clock() * 1000)

    def count_wait(self, seconds: float) -> None:
        """A caller's pictures have waited for the network."""
        self.queue = self.queue.and_once(seconds)

    def count_decoding(self, seconds: float) -> None:
        """A caller's pictures were files, and have been decoded."""
        self.decode = self.decode.and_once(seconds)

    def count_batch(self, size: int, seconds: float) -> None:
        """The network has computed a batch."""
        self._batches[size] = self._batches.get(size, Duration()).and_once(seconds)

    def batches(self) -> list[tuple[int, Duration]]:
        """How often batches of each size were computed, the smallest first."""
        return sorted(self._batches.copy().items())
