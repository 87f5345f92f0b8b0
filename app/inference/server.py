"""The server of the inference process: handles the messages of all connections. Connections share the loaded models."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_never, cast

import numpy as np
import structlog
from msgspec import MsgspecError
from numpy.typing import NDArray

from app.inference import architectures
from app.inference.model_registry import ModelRegistry
from app.inference.protocol import (
    BatchResult,
    Cancel,
    ClientMessage,
    FrameDecoder,
    Load,
    LoadResult,
    Message,
    Ping,
    Pong,
    Predict,
    PredictResult,
    ServerInfo,
    Unload,
    ValidateArchitecture,
    decode_client_message,
    encode,
    to_error_message,
)
from app.inference.types import NUM_LOAD_THREADS, BatcherClosed, BatchStats, Request, TargetedImage
from app.inference.validation_process import ValidationProcess
from app.inference.validation_queue import ValidationQueue
from core.errors import NotReady, Overloaded, ServiceError

log = structlog.get_logger(__name__)


class RemoteRequest(Request):
    """A prediction request of an API process. Its samples are in shared memory."""

    def __init__(self, connection: "Connection", message: Predict, shape: tuple[int, ...], dtype: str) -> None:
        num_bytes = message.count * math.prod(shape) * np.dtype(dtype).itemsize
        memory = connection.memory[message.offset : message.offset + num_bytes]
        samples: Sequence[Any] = list(memory.view(dtype).reshape(message.count, *shape))
        if message.targets is not None:
            samples = [TargetedImage(*pair) for pair in zip(samples, message.targets, strict=True)]
        deadline = math.inf if message.deadline is None else message.deadline
        super().__init__(samples, message.received_at, deadline, message.priority)
        self.connection = connection
        self.id = message.id
        self.model_id = message.model_id
        self.is_cancelled = False

    @property
    def is_gone(self) -> bool:
        return self.is_cancelled or self.connection.is_closed


class InferenceServer:
    """Handles messages on the event loop of the process. Other threads load models and compute batches."""

    def __init__(
        self, device: str, runtime_info: dict[str, Any], validation_processes: Sequence[ValidationProcess] = ()
    ) -> None:
        """Initialize the server. `validation_processes` are for fast (the first) and slow validations (the last)."""
        self._device = device
        self._runtime_info = runtime_info
        self._validation_queue = ValidationQueue(validation_processes)
        self._loop = asyncio.get_running_loop()
        self._load_threads = ThreadPoolExecutor(NUM_LOAD_THREADS, thread_name_prefix="load-model")
        self.models = ModelRegistry(device, self._make_callback)

    def build_server_info(self, pid: int) -> ServerInfo:
        """Return the message that is sent first on each connection."""
        return ServerInfo(pid, self._device, self._runtime_info, architectures.list_architectures())

    def handle_message(self, connection: "Connection", message: ClientMessage) -> None:
        """Handle a message. The response may be sent after this method returns."""
        match message:
            case Predict():
                self._handle_predict(connection, message)
            case Cancel(id=id):
                connection.cancel_request(id)
            case Ping(id=id):
                connection.send(Pong(id))
            case Load():
                self._respond_later(
                    connection, message.id, self._load_threads, lambda: self._load_model(connection, message)
                )
            case Unload(model_id=model_id):
                self.models.unload(model_id, connection)
            case ValidateArchitecture():
                self._handle_validation(connection, message)
            case _:
                assert_never(message)

    def _handle_predict(self, connection: "Connection", message: Predict) -> None:
        model = self.models.find_model(message.model_id)
        if model is None:
            connection.send(to_error_message(message.id, make_unloaded_error()))
            return
        request = RemoteRequest(connection, message, model.sample_shape, model.dtype)
        try:
            model.batcher.put(request)
        except BatcherClosed:
            connection.send(to_error_message(message.id, make_unloaded_error()))
        except ServiceError as error:
            connection.send(to_error_message(message.id, error))
        else:
            connection.pending[message.id] = request

    def _handle_validation(self, connection: "Connection", message: ValidateArchitecture) -> None:
        """Validate an architecture in another process."""
        try:
            self._validation_queue.submit(message, lambda validate: self._respond(connection, message.id, validate))
        except Overloaded as error:
            connection.send(to_error_message(message.id, error))

    def _load_model(self, connection: "Connection", message: Load) -> LoadResult:
        model = self.models.load(message, connection)
        if connection.is_closed:
            self.models.unload(model.id, connection)
        return LoadResult(
            message.id,
            model.id,
            model.num_bytes,
            model.sample_shape,
            model.dtype,
            model.latencies,
            model.device,
        )

    def _respond_later(
        self, connection: "Connection", id: int, threads: ThreadPoolExecutor, make_response: Callable[[], Message]
    ) -> None:
        threads.submit(self._respond, connection, id, make_response)

    def _respond(self, connection: "Connection", id: int, make_response: Callable[[], Message]) -> None:
        """Send a response from another thread. If an exception is raised, the response describes it."""
        try:
            response = make_response()
        except ServiceError as error:
            response = to_error_message(id, error)
        except Exception as error:
            log.exception("inference.request_failed", error=repr(error)[:500])
            response = to_error_message(
                id, ServiceError(f"Internal error in the inference process: {type(error).__name__}.")
            )
        self._loop.call_soon_threadsafe(connection.send, response)

    def _make_callback(self, model_id: int) -> Callable[[BatchStats, list[Request]], None]:
        def on_batch(stats: BatchStats, requests: list[Request]) -> None:
            self._loop.call_soon_threadsafe(self._send_results, model_id, stats, requests)

        return on_batch

    def _send_results(self, model_id: int, stats: BatchStats, requests: list[Request]) -> None:
        """Send each connection the results of its requests.

        Only one connection receives the batch size and counts, so that the API processes count each batch once.
        """
        results: dict[Connection, list[PredictResult]] = {}
        for request in cast("list[RemoteRequest]", requests):
            results.setdefault(request.connection, []).append(_build_result(request))
        if not results and (holders := self.models.list_holders(model_id)):
            results[cast("Connection", holders[0])] = []
        size, num_failed, seconds, num_dropped, _ = stats
        for connection, own_results in results.items():
            num_queued = self._count_queued_elsewhere(model_id, connection)
            connection.send(BatchResult(model_id, size, num_failed, num_dropped, seconds, own_results, num_queued))
            size = num_failed = num_dropped = 0

    def _count_queued_elsewhere(self, model_id: int, connection: "Connection") -> int:
        """Return the number of samples that wait for a model on other connections."""
        others = {
            cast("Connection", holder) for holder in self.models.list_holders(model_id) if holder is not connection
        }
        return sum(
            request.num_remaining
            for other in others
            for request in other.pending.values()
            if request.model_id == model_id
        )


def make_unloaded_error() -> NotReady:
    """Return the error of a request that arrived after its model was unloaded."""
    return NotReady("The model was unloaded before the request arrived; retry the request.", retry_after_s=1)


def _build_result(request: RemoteRequest) -> PredictResult:
    request.connection.pending.pop(request.id, None)
    if any(outcome is None for outcome in request.outcomes):
        return PredictResult(request.id, b"", [], request.waited_s)
    rows, errors = [], []
    for index, outcome in enumerate(request.outcomes):
        if isinstance(outcome, ServiceError):
            errors.append((index, outcome.detail, str(outcome.extra.get("reason", ""))))
        elif outcome is not None:
            rows.append(outcome.tobytes())
    return PredictResult(request.id, b"".join(rows), errors, request.waited_s)


class Connection(asyncio.Protocol):
    """The connection to one API process. `memory` is the shared memory that the API process created."""

    def __init__(
        self,
        server: InferenceServer,
        memory: NDArray[np.uint8],
        pid: int,
        on_close: Callable[["Connection"], None],
    ) -> None:
        self.memory = memory
        self.pending: dict[int, RemoteRequest] = {}
        self.is_closed = False
        self._server = server
        self._pid = pid
        self._on_close = on_close
        self._frames = FrameDecoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.send(self._server.build_server_info(self._pid))

    def data_received(self, chunk: bytes) -> None:
        try:
            for frame in self._frames.feed(chunk):
                self._server.handle_message(self, decode_client_message(frame))
        except (ValueError, MsgspecError) as error:
            # The peer has a different version, so its later messages would fail too: close the connection.
            log.error("inference.message_rejected", error=str(error))  # noqa: TRY400 - no traceback needed
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._server.models.release_all(self)
        self._on_close(self)

    def cancel_request(self, id: int) -> None:
        """Mark a pending request as cancelled. Unknown ids are ignored."""
        if id in self.pending:
            self.pending[id].is_cancelled = True

    def send(self, message: Message) -> None:
        """Send a message if the connection is open."""
        if self._transport is not None and not self.is_closed:
            self._transport.write(encode(message))
