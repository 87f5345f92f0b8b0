"""Who is let in to a network: whoever would be answered in time, by what is ahead and how quickly it is worked off."""

import math
import time
from collections.abc import Callable

from app.inference.latency_model import LatencyModel
from app.inference.types import DEFAULT_LEVEL, NUM_LEVELS
from core.errors import DeadlineExceeded, Overloaded

LONGEST_RETRY_S = 60
WEIGHT = 0.2
FORGET_OTHERS_S = 1.0
SAFE_SHARE = 0.8
LEAST_DRAG = 0.1


class AdmissionController:
    """Counts pictures from the door to the answer, decoding included. Used on one event loop."""

    def __init__(
        self,
        model: str,
        *,
        max_batch_size: int,
        max_waiting: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let in so many pictures at once, and none that would wait longer than `max_wait_s`.

        That is promised to 99 of 100, and what is expected is what most see: a share of it is kept in reserve.
        """
        self.num_in_flight = 0
        self._num_of_level = [0] * (NUM_LEVELS + 1)
        self._model = model
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._costs = LatencyModel()
        self._others = 0, 0.0
        self._drag = 1.0  # the time from answer to answer over that of one batch; below 1 where several are computed
        self._heard_at: float | None = None  # the end of the batch before, unless there was nothing to do since

    def expected_s(self, num_images: int, level: int = DEFAULT_LEVEL) -> float:
        """How long the last of so many more pictures would take from now; 0 as long as nothing is known.

        Those of later levels are not in their way; of which level those of other processes are, nobody knows.
        """
        num_ahead = self.num_in_flight - sum(self._num_of_level[level + 1 :])
        full, rest = divmod(num_ahead + self._num_others() + num_images, self._max_batch_size)
        seconds = full * self._costs.predict(self._max_batch_size) + (self._costs.predict(rest) if rest else 0.0)
        return seconds * self._drag

    def check(self, num_images: int, deadline: float | None = None, level: int = DEFAULT_LEVEL) -> None:
        """Refuse pictures that would not be answered in time; `deadline` is of the clock.

        Raises:
            Overloaded: too many are ahead, or they would take longer than is promised.
            DeadlineExceeded: they would take longer than their caller waits.
        """
        expected_s = self.expected_s(num_images, level)
        if deadline is not None and self._clock() + expected_s > deadline:
            text = f"It would take about {expected_s:.2g} s; the request's timeout is over sooner."
            raise DeadlineExceeded(f"{text} Nothing was computed.", expected_s=round(expected_s, 3))
        acceptable_s = SAFE_SHARE * self._max_wait_s
        is_late = self.num_in_flight > 0 and expected_s > acceptable_s
        if not is_late and self.num_in_flight + num_images <= self._max_waiting:
            return
        until_free_s = expected_s - acceptable_s if is_late else self.expected_s(0, level) / 2
        raise Overloaded(
            f"Too many predictions wait for {self._model!r}.",
            waiting=self.num_in_flight,
            max_waiting=self._max_waiting,
            expected_s=round(expected_s, 3),
            max_wait_s=self._max_wait_s,
            reason="wait" if is_late else "queue",
            retry_after_s=min(max(1, math.ceil(until_free_s)), LONGEST_RETRY_S),
        )

    def enter(self, num_images: int, level: int = DEFAULT_LEVEL) -> None:
        self.num_in_flight += num_images
        self._num_of_level[level] += num_images

    def leave(self, num_images: int, level: int = DEFAULT_LEVEL) -> None:
        self.num_in_flight -= num_images
        self._num_of_level[level] -= num_images
        if not self.num_in_flight:
            self._heard_at = None

    def set_remote_queue_length(self, num_waiting: int) -> None:
        """So many pictures of other processes wait for the same network."""
        self._others = num_waiting, self._clock()

    def set_latency_model(self, costs: list[tuple[int, float]]) -> None:
        """What batches cost when the network was warmed up."""
        self._costs = LatencyModel(costs)

    def learn(self, size: int, seconds: float) -> None:
        """A batch was computed."""
        now = self._clock()
        self._costs.record(size, seconds)
        if self._heard_at is not None and seconds > 0:
            self._drag += WEIGHT * (min(max((now - self._heard_at) / seconds, LEAST_DRAG), 10.0) - self._drag)
        self._heard_at = now

    def _num_others(self) -> int:
        """As was heard last, unless that is long ago: whoever is idle hears nothing."""
        count, heard_at = self._others
        return count if count and self._clock() - heard_at < FORGET_OTHERS_S else 0
