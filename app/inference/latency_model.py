"""What a batch of a network costs, by its size: measured when it was warmed up, learnt with every batch since."""

from collections.abc import Iterable

WEIGHT = 0.2  # of the newest batch of a size
DRIFT = 0.5  # how far other sizes go along with one that changes: the machine may have become busier for all


class LatencyModel:
    """Seconds. Sizes that were never seen lie on the line between those that were."""

    def __init__(self, known: Iterable[tuple[int, float]] = ()) -> None:
        """`known` are sizes with their seconds."""
        self._seconds = dict(known)

    def known(self) -> list[tuple[int, float]]:
        return sorted(self._seconds.items())

    def record(self, size: int, seconds: float) -> None:
        """A batch of that size took so long."""
        before = self.predict(size)
        if before <= 0:
            self._seconds[size] = seconds
            return
        after = before + WEIGHT * (seconds - before)
        factor = (after / before) ** DRIFT
        self._seconds = {other: known * factor for other, known in self._seconds.items()} | {size: after}

    def predict(self, size: int) -> float:
        """What a batch of that size costs; 0 as long as nothing is known."""
        if size in self._seconds:
            return self._seconds[size]
        below = max((known for known in self._seconds if known < size), default=0)
        above = min((known for known in self._seconds if known > size), default=0)
        if not below:
            return self._seconds.get(above, 0.0)  # a smaller batch is hardly cheaper than the smallest that is known
        if not above:
            return self._seconds[below] * size / below
        share = (size - below) / (above - below)
        return self._seconds[below] + share * (self._seconds[above] - self._seconds[below])

    def saving(self, now: int, later: int) -> float:
        """What one batch of all saves over one of those who wait now and one of those who come later."""
        return self.predict(now) + self.predict(later) - self.predict(now + later)
