"""In which order those who wait for a network are taken: level by level, in each as they came, none for ever last."""

from collections import deque
from typing import NamedTuple

from app.inference.types import NUM_LEVELS, Request

EVERY = 8
"""Where several levels wait, one batch of so many begins with whoever came first, on whatever level."""


class QueueItem(NamedTuple):
    """One picture of a request."""

    request: Request
    place: int


class PriorityQueues:
    """A queue a level. It does not lock."""

    def __init__(self) -> None:
        self._queues = [deque[QueueItem]() for _ in range(NUM_LEVELS)]
        self._num_batches = 0

    def put(self, request: Request) -> None:
        """Behind those of its level."""
        queue = self._queues[request.level - 1]
        if request.num_left == 1:  # most are; a generator would cost more than all else here
            queue.append(QueueItem(request, 0))
        else:
            queue.extend(QueueItem(request, place) for place in range(request.num_left))

    def by_priority(self) -> list[deque[QueueItem]]:
        """The queues that have something, as the next batch is to be taken from them; to be called once a batch."""
        queues = [queue for queue in self._queues if queue]
        if len(queues) > 1:
            self._num_batches += 1
            if self._num_batches % EVERY == 0:
                queues.sort(key=lambda queue: queue[0].request.came_at)
        return queues
