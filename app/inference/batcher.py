"""The queue before one network, and the threads that compute: whatever waits goes in as soon as the network is idle.

While a batch is computed, requests gather; a lone request is taken at once. Only right after a batch of several, whose
callers are just being answered and may come back, a thread may wait for as many again: as long as the time until they
are there is less than what one batch saves over two, by what batches of each size have cost so far; at most a quarter
of the batch before, and never more than 8 ms. Else closed-loop callers fall into batches of 1 and n - 1 by turns.
Where many ask a network that is worth all cores, several batches share them: while the callers of one are answered and
come back, the others compute, and no core waits for another. In which order they are taken is the matter of `levels`.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from app.inference.latency_model import LatencyModel
from app.inference.priority_queue import PriorityQueues, QueueItem
from app.inference.types import DEFAULT_LEVEL, BatcherClosed, BatchStats, Outcome, Pixels, Request, deadline_exceeded
from core.errors import Overloaded, PredictionFailed
from core.process_tuning import PREDICT, set_niceness

log = structlog.get_logger(__name__)

MAX_GATHER_S = 0.008
GATHER_SHARE = 0.25  # of the time that the last batch took
LONGEST_RETRY_S = 60
MIN_IMAGES_PER_INSTANCE = 8  # so many pictures for each batch are asked before the device is shared among several

Compute = Callable[[Sequence[Pixels]], NDArray[np.float32]]
Tell = Callable[[BatchStats, list[Request]], None]
"""Called by the computing thread after every batch, with those whose last picture was in it, or who have gone."""


class _PendingRequest(Request):
    """A caller on an event loop."""

    def __init__(self, images: Sequence[Pixels], loop: asyncio.AbstractEventLoop, deadline: float, level: int) -> None:
        super().__init__(images, time.monotonic(), deadline, level)
        self.future: asyncio.Future[list[Outcome]] = loop.create_future()
        self.loop = loop

    @property
    def is_gone(self) -> bool:
        return self.future.done()

    def settle(self) -> None:
        """Wake the caller, on the event loop's thread."""
        if not self.future.done():
            if any(outcome is None for outcome in self.outcomes):
                self.future.set_exception(deadline_exceeded())
            else:
                self.future.set_result([outcome for outcome in self.outcomes if outcome is not None])


class _Batch(NamedTuple):
    """A batch, those who have gone meanwhile, their pictures, and among how many batches the device is shared."""

    batch: list[QueueItem]
    gone: list[Request]
    num_dropped: int
    num_sharing: int


class _LastBatch(NamedTuple):
    """The batch before."""

    size: int
    seconds: float
    ended_at: float


class Batcher:
    """One network, one bounded queue, and a thread for each batch that may be computed at once: a lane."""

    def __init__(
        self,
        compute: Compute,
        *,
        model: str,
        max_batch_size: int,
        max_waiting: int,
        num_lanes: int = 1,
        share: Callable[[int], None] | None = None,
        tell: Tell | None = None,
        costs: LatencyModel | None = None,
    ) -> None:
        """Start the threads.

        Args:
            compute: pictures to raw scores, (B, num_outputs); called by `num_lanes` threads.
            model: for logs.
            max_batch_size: pictures.
            max_waiting: pictures that may wait; more are refused at once.
            num_lanes: the most batches that are computed at once.
            share: hears before every batch, in its thread, among how many the device is shared.
            tell: hears of every batch, before those are woken who `submit`.
            costs: what batches are known to cost that have the device for themselves.
        """
        self._compute = compute
        self._model = model
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._num_lanes = num_lanes
        self._share = share
        self._tell = tell
        self._levels = PriorityQueues()
        self._num_waiting = 0
        self._num_computing = 0
        self._num_busy = 0  # lanes
        self._turn = threading.Lock()  # of the one lane that waits for the next batch
        self._changed = threading.Condition()
        self._wanted = 1  # how many must wait before it is worth waking the thread
        self._past = _LastBatch(0, 0.0, 0.0)
        self._costs = costs or LatencyModel()
        self._arrived_at = 0.0
        self._gap_s = 0.0  # between those who come back; moving average
        self._is_closing = False
        names = [f"predict-{model}-{lane}" for lane in range(num_lanes)]
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    @property
    def num_waiting(self) -> int:
        return self._num_waiting

    async def submit(
        self, images: Sequence[Pixels], deadline: float = math.inf, level: int = DEFAULT_LEVEL
    ) -> list[Outcome]:
        """Wait for the answers of some pictures, in their order. Cancelled callers cost no computing.

        Raises:
            Overloaded: the queue has no room for them; `retry_after_s` says when it may have.
            Closed: ask another batcher.
            DeadlineExceeded: the deadline, of the monotonic clock, came before their turn.
        """
        request = _PendingRequest(images, asyncio.get_running_loop(), deadline, level)
        self.put(request)
        return await request.future if images else []

    def put(self, request: Request) -> None:
        """Let pictures wait; `tell` hears when they are done. Raises as `submit`."""
        with self._changed:
            if self._is_closing:
                raise BatcherClosed
            self._check_room(request.num_left)
            now = time.monotonic()
            if self._wanted > 1 and self._arrived_at > self._past.ended_at:
                self._gap_s += 0.2 * (now - self._arrived_at - self._gap_s)
            self._arrived_at = now
            self._levels.put(request)
            self._num_waiting += request.num_left
            if self._num_waiting >= self._wanted:
                self._changed.notify()

    def close(self) -> None:
        """Take nothing more; what waits is still answered. It does not wait for that."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    async def join(self) -> None:
        """Wait until the threads have answered everything and are gone."""
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _check_room(self, num_images: int) -> None:
        if self._num_waiting + num_images <= self._max_waiting:
            return
        seconds = self._num_waiting / self._max_batch_size * self._costs.predict(self._max_batch_size)
        raise Overloaded(
            f"Too many predictions wait for {self._model!r}.",
            waiting=self._num_waiting,
            max_waiting=self._max_waiting,
            retry_after_s=min(max(1, math.ceil(seconds)), LONGEST_RETRY_S),
        )

    def _run(self) -> None:
        set_niceness(PREDICT)
        while (taken := self._take()) is not None:
            self._answer(*taken)

    def _take(self) -> _Batch | None:
        """The next batch; None when closed and nothing waits."""
        with self._turn, self._changed:
            while not self._num_waiting or self._num_busy >= self._num_sharing():
                if self._is_closing and not self._num_waiting:
                    return None
                self._changed.wait()
            self._gather()
            num_sharing = self._num_sharing()
            fair = math.ceil((self._num_waiting + self._num_computing) / num_sharing)
            taken = self._taken(min(fair, self._max_batch_size), num_sharing)
            self._num_waiting -= len(taken.batch) + taken.num_dropped
            self._num_computing += len(taken.batch)
            self._num_busy += 1
            return taken

    def _taken(self, size: int, num_sharing: int) -> _Batch:
        batch, gone, num_dropped, now = list[QueueItem](), list[Request](), 0, time.monotonic()
        for queue in self._levels.by_priority():
            while queue and len(batch) < size:
                item = queue.popleft()
                if not (item.request.is_gone or item.request.deadline < now):
                    batch.append(item)
                    continue
                num_dropped += 1
                item.request.num_left -= 1
                if not item.request.num_left:
                    gone.append(item.request)
        return _Batch(batch, gone, num_dropped, num_sharing)

    def _num_sharing(self) -> int:
        """Among how many batches the device is shared, by what is asked of it now."""
        return min(self._num_lanes, max(1, (self._num_waiting + self._num_computing) // MIN_IMAGES_PER_INSTANCE))

    def _gather(self) -> None:
        """Right after a batch of several, let as many come back; see the top of the file."""
        wanted = min(self._past.size, self._max_batch_size)
        if wanted < 2:
            return
        until = self._past.ended_at + min(MAX_GATHER_S, GATHER_SHARE * self._past.seconds)
        self._wanted = wanted
        while (missing := wanted - self._num_waiting) > 0 and not self._is_closing:
            saving = self._costs.saving(self._num_waiting, missing)
            if self._gap_s * missing > saving:
                break
            dry_at = max(self._arrived_at, self._past.ended_at) + saving / missing  # nobody comes any more
            left = min(until, dry_at) - time.monotonic()
            if left <= 0:
                break
            self._changed.wait(left)
        self._wanted = 1

    def _answer(self, batch: list[QueueItem], done: list[Request], num_dropped: int, num_sharing: int) -> None:
        if self._share is not None:
            self._share(num_sharing)
        started_at = time.monotonic()
        outcomes = self._outcomes([request.images[place] for request, place in batch]) if batch else []
        ended_at = time.monotonic()
        self._leave(len(batch), started_at, ended_at, num_sharing)
        for (request, place), outcome in zip(batch, outcomes, strict=True):
            request.outcomes[place] = outcome
            if not place:
                request.waited_s = started_at - request.came_at
            request.num_left -= 1
            if not request.num_left:
                done.append(request)
        if self._tell is not None:  # first, so that whoever has an answer finds it counted
            num_failed = sum(isinstance(outcome, PredictionFailed) for outcome in outcomes)
            self._tell(BatchStats(len(batch), num_failed, ended_at - started_at, num_dropped), done)
        _settle([request for request in done if isinstance(request, _PendingRequest)])

    def _leave(self, size: int, started_at: float, ended_at: float, num_sharing: int) -> None:
        """The lane is free again."""
        with self._changed:
            self._num_computing -= size
            self._num_busy -= 1
            if size:
                self._past = _LastBatch(size, ended_at - started_at, ended_at)
                self._costs.record(size, self._past.seconds / num_sharing)
            self._changed.notify()  # the lane whose turn it is may have waited for this one

    def _outcomes(self, images: list[Pixels]) -> list[Outcome]:
        """Each picture's answer or error: a batch that fails is halved until the culprit stands alone."""
        try:
            scores = self._compute(images)
        except Exception as error:  # noqa: BLE001 - one picture may raise anything; others must not feel it
            if len(images) == 1:
                log.warning("prediction.failed", model=self._model, error=repr(error)[:500])
                return [PredictionFailed("The network failed on this picture.", reason=type(error).__name__)]
            middle = len(images) // 2
            return self._outcomes(images[:middle]) + self._outcomes(images[middle:])
        finite = np.logical_and.reduce(np.isfinite(scores), axis=1)
        return [
            one if is_finite else PredictionFailed("The network's answer to this picture is not finite.")
            for one, is_finite in zip(scores, finite, strict=True)
        ]


def _settle(requests: list[_PendingRequest]) -> None:
    if not requests:
        return

    def wake() -> None:
        for request in requests:
            request.settle()

    try:
        requests[0].loop.call_soon_threadsafe(wake)
    except RuntimeError:  # the event loop is closed, and with it everybody who waited
        log.debug("prediction.nobody_waits")
