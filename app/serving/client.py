"""The client of the inference process: sends requests on one connection and passes responses to the callers."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import structlog

from app.inference.protocol import (
    BatchResult,
    Cancel,
    Error,
    FrameDecoder,
    Message,
    Predict,
    PredictResult,
    ServerInfo,
    decode_server_message,
    encode,
    from_error_message,
)
from app.inference.shared_memory import Block, SharedMemoryFull, SharedMemoryPool
from app.inference.types import DEFAULT_PRIORITY, BatchStats, Outcome, Pixels, make_deadline_error
from core.errors import Overloaded, PredictionFailed, ServiceError, Unavailable

log = structlog.get_logger(__name__)

MAX_BUFFER_S = 0.001

Listener = Callable[[BatchStats, Sequence[float]], None]
"""Called after each batch with the batch statistics and the queue times of the completed requests of this process."""


class _PendingPrediction:
    """A prediction whose samples stay in shared memory until its response arrives, even if its caller is cancelled."""

    def __init__(self, future: "asyncio.Future[list[Outcome]]", model_id: int, block: Block, count: int) -> None:
        self.future = future
        self.model_id = model_id
        self.block = block
        self.count = count


class InferenceClient(asyncio.Protocol):
    """Sends requests and receives responses. If the connection is lost, all waiting callers get `Unavailable`.

    Use it on one event loop only.
    """

    def __init__(self, shared_memory: SharedMemoryPool, on_lost: Callable[[], None]) -> None:
        """Initialize with the shared-memory pool and a function that is called when the connection is lost."""
        self._shared_memory = shared_memory
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._frames = FrameDecoder()
        self._ids = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._requests: dict[int, asyncio.Future[Any]] = {}
        self._predictions: dict[int, _PendingPrediction] = {}
        self._num_pending: dict[int, int] = {}  # number of pending predictions, keyed by model id
        self._listeners: dict[int, Listener] = {}
        self._buffer: list[bytes] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self.server_info: asyncio.Future[ServerInfo] = self._loop.create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, chunk: bytes) -> None:
        try:
            for frame in self._frames.feed(chunk):
                self._handle_message(decode_server_message(frame))
        except Exception:  # close the connection, because otherwise callers would wait forever
            log.exception("inference.message_rejected")
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._buffer.clear()
        self._flush()
        unavailable = make_unavailable_error()
        predictions = (prediction.future for prediction in self._predictions.values())
        for future in (*self._requests.values(), *predictions, self.server_info):
            if not future.done():
                future.set_exception(unavailable)
        if self.server_info.done() and not self.server_info.cancelled():
            self.server_info.exception()  # mark the exception as retrieved, so that asyncio does not log it
        self._requests.clear()
        self._predictions.clear()
        self._on_lost()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def send(self, message: Message) -> None:
        """Send a message that has no response. Raises Unavailable if the connection is lost."""
        self._append(message)
        self._flush()

    async def request(self, make_message: Callable[[int], Message]) -> Any:  # noqa: ANN401 - depends on the request
        """Send a request and return the response. `make_message` maps the id of the request to the message.

        Raises:
            ServiceError: the request failed, or the connection is lost.
        """
        id = next(self._ids)
        future = self._requests[id] = self._loop.create_future()
        try:
            self.send(make_message(id))
            return await future
        finally:
            self._requests.pop(id, None)

    def add_listener(self, model_id: int, listener: Listener) -> None:
        """Register a function that is called after each batch of a model."""
        self._listeners[model_id] = listener

    def remove_listener(self, model_id: int) -> None:
        """Stop calling the listener of a model."""
        self._listeners.pop(model_id, None)

    async def predict(
        self,
        model_id: int,
        images: Sequence[Pixels],
        received_at: float,
        deadline: float | None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes of one or more samples. If the caller is cancelled, drop the waiting samples.

        Raises:
            Overloaded: the shared memory is full.
            DeadlineExceeded: the deadline passed before the samples were computed.
            Unavailable: the connection is lost.
            ServiceError: the inference process rejected the request.
        """
        id, block = next(self._ids), self._allocate(sum(image.nbytes for image in images))
        offset, memory = block.offset, self._shared_memory.memory
        for image in images:
            memory[offset : offset + image.nbytes] = image.reshape(-1).view(np.uint8)
            offset += image.nbytes
        future = self._loop.create_future()
        self._predictions[id] = _PendingPrediction(future, model_id, block, len(images))
        classes = None if targets is None else tuple(targets)
        try:
            self._append(Predict(id, model_id, block.offset, len(images), received_at, deadline, priority, classes))
            self._flush_if_idle(model_id)
            return cast("list[Outcome]", await future)
        except asyncio.CancelledError:
            if not self.is_lost:
                self.send(Cancel(id))
            raise

    def _append(self, message: Message) -> None:
        if self._transport is None or self.is_lost:
            raise make_unavailable_error()
        self._buffer.append(encode(message))

    def _flush_if_idle(self, model_id: int) -> None:
        """Send the buffered messages at once if the model is idle, otherwise within `MAX_BUFFER_S` seconds.

        Each write to the socket wakes the inference process, so sending several messages in one write costs less. A
        busy model cannot start a new request at once, so the short wait does not delay the request.
        """
        self._num_pending[model_id] = self._num_pending.get(model_id, 0) + 1
        if self._num_pending[model_id] == 1:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(MAX_BUFFER_S, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._buffer and self._transport is not None:
            frames, self._buffer = self._buffer, []
            self._transport.write(b"".join(frames))

    def _allocate(self, num_bytes: int) -> Block:
        try:
            return self._shared_memory.allocate(num_bytes)
        except SharedMemoryFull:
            raise Overloaded("The shared memory for waiting samples is full.", retry_after_s=1) from None

    def _handle_message(self, message: Message) -> None:
        match message:
            case BatchResult():
                self._handle_batch(message)
            case ServerInfo():
                self.server_info.set_result(message)
            case Error(id=id):
                error = from_error_message(message)
                prediction = self._pop_prediction(id)
                future: asyncio.Future[Any] | None = self._requests.get(id) if prediction is None else prediction.future
                if future is not None and not future.done():
                    future.set_exception(error)
            case _:
                future = self._requests.get(message.id)  # type: ignore[attr-defined]  # all other messages have an id
                if future is not None and not future.done():
                    future.set_result(message)

    def _pop_prediction(self, id: int) -> _PendingPrediction | None:
        """Remove a pending prediction and free its memory. Return None if no prediction has this id."""
        prediction = self._predictions.pop(id, None)
        if prediction is not None:
            self._shared_memory.free(prediction.block)
            self._num_pending[prediction.model_id] -= 1
            if not self._num_pending[prediction.model_id]:
                del self._num_pending[prediction.model_id]
        return prediction

    def _handle_batch(self, batch: BatchResult) -> None:
        self._flush()
        listener = self._listeners.get(batch.model_id)
        if listener is not None:  # called before the callers resume, so that statistics include their requests
            stats = BatchStats(
                batch.size, batch.num_failed, batch.seconds, batch.num_dropped, batch.num_queued_elsewhere
            )
            listener(stats, [result.waited_s for result in batch.results])
        for result in batch.results:
            prediction = self._pop_prediction(result.id)
            if prediction is None or prediction.future.done():
                continue
            if not result.scores and len(result.errors) < prediction.count:
                prediction.future.set_exception(make_deadline_error())
            else:
                prediction.future.set_result(_decode_outcomes(result, prediction.count))


def make_unavailable_error() -> Unavailable:
    """Return the error for requests to an inference process that has ended."""
    return Unavailable("The inference process has ended; it is being restarted.", retry_after_s=1)


def _decode_outcomes(result: PredictResult, count: int) -> list[Outcome]:
    num_rows = count - len(result.errors)
    rows = np.frombuffer(result.scores, np.float32).reshape(num_rows, len(result.scores) // 4 // max(num_rows, 1))
    if not result.errors:
        return list(rows)
    errors: dict[int, ServiceError] = {
        index: PredictionFailed(detail, **({"reason": reason} if reason else {}))
        for index, detail, reason in result.errors
    }
    next_row = iter(rows)
    return [errors[index] if index in errors else next(next_row) for index in range(count)]
