"""Priority queues of the samples of one model: one FIFO queue per priority, with aging so that no queue starves."""

from collections import deque
from typing import NamedTuple

from app.inference.types import NUM_PRIORITIES, Request

AGING_INTERVAL = 8
"""If several queues contain samples, every 8th batch starts with the queue whose first request has waited longest."""


class QueueItem(NamedTuple):
    """One sample of a request."""

    request: Request
    sample_index: int


class PriorityQueues:
    """Queues samples by priority. This class is not thread-safe."""

    def __init__(self) -> None:
        self._queues = [deque[QueueItem]() for _ in range(NUM_PRIORITIES)]
        self._num_batches = 0

    def put(self, request: Request) -> None:
        """Append the samples of a request to the queue of its priority."""
        queue = self._queues[request.priority - 1]
        if request.num_remaining == 1:  # the common case, for which `append` is faster than the generator below
            queue.append(QueueItem(request, 0))
        else:
            queue.extend(QueueItem(request, index) for index in range(request.num_remaining))

    def select_queues(self) -> list[deque[QueueItem]]:
        """Return the non-empty queues, in the order in which the next batch must use them. Call this once per batch."""
        queues = [queue for queue in self._queues if queue]
        if len(queues) > 1:
            self._num_batches += 1
            if self._num_batches % AGING_INTERVAL == 0:
                queues.sort(key=lambda queue: queue[0].request.received_at)
        return queues
