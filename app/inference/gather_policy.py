"""Decides how long a batcher waits for more requests before it computes the next batch.

The callers of a batch may soon send their next requests. After a batch of n > 1 samples, the batcher therefore waits
until n samples are in the queue. It stops waiting if the expected time until the missing samples arrive exceeds the
time that one combined batch saves compared with two batches. The wait ends at the latest 8 ms after the end of the last
batch, or after a quarter of that batch's duration if this is shorter. Requests that arrive later are computed at once
if the model is idle.

Without this wait, the requests of n callers that each wait for a response before they send the next request would be
split into batches of 1 and n - 1 samples.
"""

from typing import NamedTuple

from app.inference.latency_model import LatencyModel

MAX_GATHER_S = 0.008
GATHER_SHARE = 0.25  # maximum wait, as a fraction of the duration of the last batch
GAP_SMOOTHING = 0.2


class _LastBatch(NamedTuple):
    size: int
    seconds: float
    ended_at: float


class GatherPolicy:
    """Tracks the arrivals and the last batch of one model. Callers must hold the lock of the batcher."""

    def __init__(self, latency_model: LatencyModel, max_batch_size: int) -> None:
        self.min_samples = 1  # the batcher wakes a thread when this many samples are in the queue
        self._latency_model = latency_model
        self._max_batch_size = max_batch_size
        self._last_batch = _LastBatch(0, 0.0, 0.0)
        self._last_arrival_at = 0.0
        self._gap_s = 0.0  # moving average of the time between two arrivals while the batcher waits

    def record_arrival(self, now: float) -> None:
        """Record the arrival of a request."""
        if self.min_samples > 1 and self._last_arrival_at > self._last_batch.ended_at:
            self._gap_s += GAP_SMOOTHING * (now - self._last_arrival_at - self._gap_s)
        self._last_arrival_at = now

    def record_batch(self, size: int, seconds: float, ended_at: float, num_sharing: int) -> None:
        """Record a computed batch. `num_sharing` is the number of batches that shared the device."""
        self._last_batch = _LastBatch(size, seconds, ended_at)
        self._latency_model.record(size, seconds / num_sharing)

    def start(self) -> bool:
        """Set the number of samples to wait for. Return False if the batcher must compute the batch at once."""
        num_expected = min(self._last_batch.size, self._max_batch_size)
        if num_expected < 2:
            return False
        self.min_samples = num_expected
        return True

    def compute_wait_s(self, num_waiting: int, now: float) -> float:
        """Return the seconds to wait for the next request. If the result is 0 or less, compute the batch now."""
        num_missing = self.min_samples - num_waiting
        if num_missing <= 0:
            return 0.0
        saving_s = self._latency_model.compute_saving(num_waiting, num_missing)
        if self._gap_s * num_missing > saving_s:
            return 0.0
        last_batch = self._last_batch
        limit_at = last_batch.ended_at + min(MAX_GATHER_S, GATHER_SHARE * last_batch.seconds)
        arrivals_end_at = max(self._last_arrival_at, last_batch.ended_at) + saving_s / num_missing
        return min(limit_at, arrivals_end_at) - now

    def stop(self) -> None:
        """End the wait. From now on, a single sample wakes a thread."""
        self.min_samples = 1
