"""Predicts the duration of a batch from its size, based on latencies measured at warm-up and after each batch."""

from collections.abc import Iterable

SMOOTHING = 0.2  # weight of a new measurement in the moving average of its batch size
# If the latency of one size changes by a factor, the latencies of other sizes change by factor ** CROSS_SIZE_SMOOTHING.
CROSS_SIZE_SMOOTHING = 0.5


class LatencyModel:
    """Seconds per batch, keyed by batch size. Seconds of other sizes are interpolated or extrapolated linearly."""

    def __init__(self, latencies: Iterable[tuple[int, float]] = ()) -> None:
        """Start from measured latencies: pairs of batch size and seconds."""
        self._seconds = dict(latencies)

    def list_latencies(self) -> list[tuple[int, float]]:
        """Return pairs of batch size and seconds, the smallest size first."""
        return sorted(self._seconds.items())

    def record(self, size: int, seconds: float) -> None:
        """Update the latency of a batch size."""
        before = self.predict(size)
        if before <= 0:
            self._seconds[size] = seconds
            return
        after = before + SMOOTHING * (seconds - before)
        factor = (after / before) ** CROSS_SIZE_SMOOTHING
        self._seconds = {other: latency * factor for other, latency in self._seconds.items()} | {size: after}

    def predict(self, size: int) -> float:
        """Return the expected seconds of a batch, or 0 if no size was measured."""
        if size in self._seconds:
            return self._seconds[size]
        below = max((measured for measured in self._seconds if measured < size), default=0)
        above = min((measured for measured in self._seconds if measured > size), default=0)
        if not below:
            return self._seconds.get(above, 0.0)  # smaller batches than the smallest measured one are hardly faster
        if not above:
            return self._seconds[below] * size / below
        share = (size - below) / (above - below)
        return self._seconds[below] + share * (self._seconds[above] - self._seconds[below])

    def compute_saving(self, num_now: int, num_later: int) -> float:
        """Return the seconds that one batch of all samples saves compared with one batch now and one later."""
        return self.predict(num_now) + self.predict(num_later) - self.predict(num_now + num_later)
