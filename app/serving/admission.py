"""Admission control: rejects requests whose expected wait, estimated from the queue, is too long."""

import math
import time
from collections.abc import Callable

from app.inference.latency_model import LatencyModel
from app.inference.types import DEFAULT_PRIORITY, NUM_PRIORITIES
from core.errors import DeadlineExceeded, Overloaded

MAX_RETRY_AFTER_S = 60
SMOOTHING = 0.2
REMOTE_QUEUE_TTL_S = 1.0
SAFETY_FACTOR = 0.8
MIN_INTERVAL_RATIO, MAX_INTERVAL_RATIO = 0.1, 10.0


class AdmissionController:
    """Counts the in-flight samples of one model and rejects excess requests. Use it on one event loop only."""

    def __init__(
        self,
        model: str,
        *,
        max_batch_size: int,
        max_waiting: int,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits for the number of in-flight samples (`max_waiting`) and for the expected wait.

        The aim is that 99 % of the requests wait at most `max_wait_s` seconds. The expected wait is only a typical
        wait, and some requests wait longer. While samples are in flight, requests are therefore rejected if their
        expected wait exceeds `SAFETY_FACTOR * max_wait_s`.
        """
        self.num_in_flight = 0
        self._num_by_priority = [0] * (NUM_PRIORITIES + 1)
        self._model = model
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._latency_model = LatencyModel()
        self._remote_queue = 0, 0.0  # last reported queue length of the other API processes; time of the report
        self._interval_ratio = 1.0  # time between two batches / duration of a batch; below 1 with several instances
        self._last_batch_at: float | None = None  # None before the first batch and after the model was idle

    def estimate_wait_s(self, num_images: int, priority: int = DEFAULT_PRIORITY) -> float:
        """Return the expected seconds until `num_images` new samples are computed. Return 0 if no batch was measured.

        Samples of this process with a lower priority are not counted. All samples of other processes are counted, since
        their priority is unknown.
        """
        num_ahead = self.num_in_flight - sum(self._num_by_priority[priority + 1 :])
        total = num_ahead + self._get_remote_queue_length() + num_images
        num_full_batches, rest = divmod(total, self._max_batch_size)
        latency_model = self._latency_model
        seconds = num_full_batches * latency_model.predict(self._max_batch_size)
        return (seconds + (latency_model.predict(rest) if rest else 0.0)) * self._interval_ratio

    def check_wait(self, num_images: int, deadline: float | None = None, priority: int = DEFAULT_PRIORITY) -> None:
        """Raise an error if `num_images` new samples cannot be computed in time.

        Args:
            num_images: number of new samples.
            deadline: time of `clock` before which the samples must be computed. Default: none.
            priority: 1 to 3; samples with priority 1 are computed first.

        Raises:
            Overloaded: too many samples wait, or the expected wait is too long.
            DeadlineExceeded: the expected wait ends after the deadline.
        """
        expected_s = self.estimate_wait_s(num_images, priority)
        if deadline is not None and self._clock() + expected_s > deadline:
            text = f"The expected wait of about {expected_s:.2g} s exceeds the request's timeout."
            raise DeadlineExceeded(f"{text} Nothing was computed.", expected_s=round(expected_s, 3))
        acceptable_s = SAFETY_FACTOR * self._max_wait_s
        is_late = self.num_in_flight > 0 and expected_s > acceptable_s
        if not is_late and self.num_in_flight + num_images <= self._max_waiting:
            return
        until_free_s = expected_s - acceptable_s if is_late else self.estimate_wait_s(0, priority) / 2
        raise Overloaded(
            f"Too many predictions wait for {self._model!r}.",
            waiting=self.num_in_flight,
            max_waiting=self._max_waiting,
            expected_s=round(expected_s, 3),
            max_wait_s=self._max_wait_s,
            reason="wait" if is_late else "queue",
            retry_after_s=min(max(1, math.ceil(until_free_s)), MAX_RETRY_AFTER_S),
        )

    def add_in_flight(self, num_images: int, priority: int = DEFAULT_PRIORITY) -> None:
        """Add accepted samples to the number of in-flight samples."""
        self.num_in_flight += num_images
        self._num_by_priority[priority] += num_images

    def remove_in_flight(self, num_images: int, priority: int = DEFAULT_PRIORITY) -> None:
        """Subtract samples from the number of in-flight samples."""
        self.num_in_flight -= num_images
        self._num_by_priority[priority] -= num_images
        if not self.num_in_flight:
            self._last_batch_at = None

    def set_remote_queue_length(self, num_waiting: int) -> None:
        """Store how many samples of other API processes wait for the model, as reported by the inference process."""
        self._remote_queue = num_waiting, self._clock()

    def set_latencies(self, latencies: list[tuple[int, float]]) -> None:
        """Set the batch latencies measured at warm-up: pairs of batch size and seconds."""
        self._latency_model = LatencyModel(latencies)

    def record_batch(self, size: int, seconds: float) -> None:
        """Update the estimate of the wait with the size and duration of a computed batch."""
        now = self._clock()
        self._latency_model.record(size, seconds)
        if self._last_batch_at is not None and seconds > 0:
            ratio = min(max((now - self._last_batch_at) / seconds, MIN_INTERVAL_RATIO), MAX_INTERVAL_RATIO)
            self._interval_ratio += SMOOTHING * (ratio - self._interval_ratio)
        self._last_batch_at = now

    def _get_remote_queue_length(self) -> int:
        """Return the last reported queue length of the other API processes.

        Return 0 if the report is older than `REMOTE_QUEUE_TTL_S` seconds, because an idle process receives no reports.
        """
        length, reported_at = self._remote_queue
        return length if length and self._clock() - reported_at < REMOTE_QUEUE_TTL_S else 0
