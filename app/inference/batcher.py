"""Dynamic batching: the request queue of one model, and the threads that compute its batches.

Requests that arrive while a batch is computed wait in the queue and form the next batch. `gather_policy` decides how
long a thread waits for more samples. `priority_queue` decides the order in which a batch takes samples.

A model may have several instances: threads that compute batches at the same time and share the CPU cores. The cores
therefore stay busy while the callers of a completed batch prepare their next requests.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import structlog

from app.inference.failure_isolation import Compute, compute_outcomes
from app.inference.gather_policy import GatherPolicy
from app.inference.latency_model import LatencyModel
from app.inference.priority_queue import PriorityQueues, QueueItem
from app.inference.types import (
    DEFAULT_PRIORITY,
    BatcherClosed,
    BatchStats,
    Outcome,
    Request,
    make_deadline_error,
)
from core.errors import Overloaded, PredictionFailed
from core.process_tuning import PREDICT_NICENESS, set_niceness

log = structlog.get_logger(__name__)

MAX_RETRY_AFTER_S = 60
MIN_SAMPLES_PER_INSTANCE = 8  # minimum samples per batch if several batches share the device

BatchCallback = Callable[[BatchStats, list[Request]], None]
"""Called after each batch, by the thread that computed it, with the batch statistics and the completed requests."""


class _PendingRequest(Request):
    """A request whose caller is a coroutine in this process."""

    def __init__(self, samples: Sequence[Any], loop: asyncio.AbstractEventLoop, deadline: float, priority: int) -> None:
        super().__init__(samples, time.monotonic(), deadline, priority)
        self.future: asyncio.Future[list[Outcome]] = loop.create_future()
        self.loop = loop

    @property
    def is_gone(self) -> bool:
        return self.future.done()

    def resolve(self) -> None:
        """Set the result or the error of the future. Called on the thread of the event loop."""
        if not self.future.done():
            if any(outcome is None for outcome in self.outcomes):
                self.future.set_exception(make_deadline_error())
            else:
                self.future.set_result([outcome for outcome in self.outcomes if outcome is not None])


class _NextBatch(NamedTuple):
    """The next batch. The `dropped_requests` are complete, because their last waiting samples were dropped."""

    items: list[QueueItem]
    dropped_requests: list[Request]
    num_dropped: int
    num_sharing: int  # number of batches that share the device


class DynamicBatcher:
    """Batches the requests of one model. It has a bounded queue, and one thread per instance."""

    def __init__(
        self,
        compute: Compute,
        *,
        model: str,
        max_batch_size: int,
        max_waiting: int,
        num_instances: int = 1,
        on_share: Callable[[int], None] | None = None,
        on_batch: BatchCallback | None = None,
        latency_model: LatencyModel | None = None,
    ) -> None:
        """Start the threads.

        Args:
            compute: maps samples to raw scores, (B, num_outputs); called by `num_instances` threads.
            model: the model's name, for logs.
            max_batch_size: maximum number of samples per batch.
            max_waiting: maximum number of waiting samples; further requests are rejected.
            num_instances: maximum number of batches that are computed at the same time.
            on_share: called by the thread of an instance before it computes a batch, with the number of batches that
                share the device.
            on_batch: called after each batch, before the callers of `submit` resume.
            latency_model: latencies of batches that do not share the device, measured at warm-up. Default: no
                measurements.
        """
        self._compute = compute
        self._model = model
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._num_instances = num_instances
        self._on_share = on_share
        self._on_batch = on_batch
        self._queues = PriorityQueues()
        self._latency_model = latency_model or LatencyModel()
        self._policy = GatherPolicy(self._latency_model, max_batch_size)
        self._num_waiting = 0
        self._num_computing = 0
        self._num_busy = 0  # number of instances that compute a batch
        self._next_batch_lock = threading.Lock()  # held while waiting for the next batch, so only one thread waits
        self._changed = threading.Condition()
        self._is_closing = False
        names = [f"predict-{model}-{number}" for number in range(num_instances)]
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of samples that wait for a batch."""
        return self._num_waiting

    async def submit(
        self, samples: Sequence[Any], deadline: float = math.inf, priority: int = DEFAULT_PRIORITY
    ) -> list[Outcome]:
        """Return the outcomes, in the order of `samples`. If the caller is cancelled, drop the samples that wait.

        Raises:
            Overloaded: the queue is full; `retry_after_s` is the estimated time until the queue has space.
            BatcherClosed: the batcher accepts no more requests.
            DeadlineExceeded: `deadline`, in monotonic time, passed before all samples were computed.
        """
        request = _PendingRequest(samples, asyncio.get_running_loop(), deadline, priority)
        self.put(request)
        return await request.future if samples else []

    def put(self, request: Request) -> None:
        """Add a request to the queue. `on_batch` receives the request when it is complete.

        Raises:
            Overloaded: the queue is full.
            BatcherClosed: the batcher accepts no more requests.
        """
        with self._changed:
            if self._is_closing:
                raise BatcherClosed
            self._check_capacity(request.num_remaining)
            self._policy.record_arrival(time.monotonic())
            self._queues.put(request)
            self._num_waiting += request.num_remaining
            if self._num_waiting >= self._policy.min_samples:
                self._changed.notify()

    def close(self) -> None:
        """Accept no more requests. Return at once; waiting requests are still computed."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    async def join(self) -> None:
        """Wait until all requests are complete and the threads have ended."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _check_capacity(self, num_samples: int) -> None:
        if self._num_waiting + num_samples <= self._max_waiting:
            return
        seconds = self._num_waiting / self._max_batch_size * self._latency_model.predict(self._max_batch_size)
        raise Overloaded(
            f"Too many predictions wait for {self._model!r}.",
            waiting=self._num_waiting,
            max_waiting=self._max_waiting,
            retry_after_s=min(max(1, math.ceil(seconds)), MAX_RETRY_AFTER_S),
        )

    def _run(self) -> None:
        set_niceness(PREDICT_NICENESS)
        while (batch := self._wait_for_batch()) is not None:
            self._process_batch(*batch)

    def _wait_for_batch(self) -> _NextBatch | None:
        """Wait for the next batch and return it. Return None if the batcher is closed and the queue is empty."""
        with self._next_batch_lock, self._changed:
            while not self._num_waiting or self._num_busy >= self._count_sharing():
                if self._is_closing and not self._num_waiting:
                    return None
                self._changed.wait()
            self._gather()
            num_sharing = self._count_sharing()
            fair_size = math.ceil((self._num_waiting + self._num_computing) / num_sharing)
            batch = self._take_batch(min(fair_size, self._max_batch_size), num_sharing)
            self._num_waiting -= len(batch.items) + batch.num_dropped
            self._num_computing += len(batch.items)
            self._num_busy += 1
            return batch

    def _gather(self) -> None:
        """Wait for more samples as long as the policy returns a positive wait time."""
        policy = self._policy
        if policy.start():
            while not self._is_closing:
                wait_s = policy.compute_wait_s(self._num_waiting, time.monotonic())
                if wait_s <= 0:
                    break
                self._changed.wait(wait_s)
            policy.stop()

    def _take_batch(self, size: int, num_sharing: int) -> _NextBatch:
        items, dropped_requests, num_dropped, now = list[QueueItem](), list[Request](), 0, time.monotonic()
        for queue in self._queues.select_queues():
            while queue and len(items) < size:
                item = queue.popleft()
                if not (item.request.is_gone or item.request.deadline < now):
                    items.append(item)
                    continue
                num_dropped += 1
                item.request.num_remaining -= 1
                if not item.request.num_remaining:
                    dropped_requests.append(item.request)
        return _NextBatch(items, dropped_requests, num_dropped, num_sharing)

    def _count_sharing(self) -> int:
        """Return how many batches should share the device at the current load."""
        return min(self._num_instances, max(1, (self._num_waiting + self._num_computing) // MIN_SAMPLES_PER_INSTANCE))

    def _process_batch(
        self, items: list[QueueItem], complete_requests: list[Request], num_dropped: int, num_sharing: int
    ) -> None:
        if self._on_share is not None:
            self._on_share(num_sharing)
        started_at = time.monotonic()
        samples = [request.samples[index] for request, index in items]
        outcomes = compute_outcomes(self._compute, samples, self._model) if samples else []
        ended_at = time.monotonic()
        self._release_instance(len(items), started_at, ended_at, num_sharing)
        for (request, index), outcome in zip(items, outcomes, strict=True):
            request.outcomes[index] = outcome
            if not index:
                request.waited_s = started_at - request.received_at
            request.num_remaining -= 1
            if not request.num_remaining:
                complete_requests.append(request)
        if self._on_batch is not None:  # called before callers resume, so that statistics include their requests
            num_failed = sum(isinstance(outcome, PredictionFailed) for outcome in outcomes)
            self._on_batch(BatchStats(len(items), num_failed, ended_at - started_at, num_dropped), complete_requests)
        _resolve_requests([request for request in complete_requests if isinstance(request, _PendingRequest)])

    def _release_instance(self, size: int, started_at: float, ended_at: float, num_sharing: int) -> None:
        with self._changed:
            self._num_computing -= size
            self._num_busy -= 1
            if size:
                self._policy.record_batch(size, ended_at - started_at, ended_at, num_sharing)
            self._changed.notify()  # wakes a thread that waits for a free instance


def _resolve_requests(requests: list[_PendingRequest]) -> None:
    if not requests:
        return

    def resolve_all() -> None:
        for request in requests:
            request.resolve()

    try:
        requests[0].loop.call_soon_threadsafe(resolve_all)
    except RuntimeError:  # the event loop is closed, so no coroutine waits for the results
        log.debug("prediction.discarded")
