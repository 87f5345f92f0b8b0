"""The conversation with those who ask: each connection has its memory and its callers; the networks are shared."""

import asyncio
import math
from collections.abc import Callable
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
    FrameDecoder,
    Load,
    Loaded,
    Message,
    Ping,
    Pong,
    Predict,
    PredictResult,
    Question,
    ServerInfo,
    Unload,
    ValidateArchitecture,
    decode_request,
    encode,
    to_error,
)
from app.inference.types import BatcherClosed, BatchStats, Request
from core.errors import NotReady, ServiceError

log = structlog.get_logger(__name__)


class RemoteRequest(Request):
    """A caller in another process."""

    def __init__(self, connection: "Connection", question: Predict, shape: tuple[int, ...], dtype: str) -> None:
        size = question.count * math.prod(shape) * np.dtype(dtype).itemsize
        memory = connection.memory[question.offset : question.offset + size]
        samples = memory.view(dtype).reshape(question.count, *shape)
        deadline = math.inf if question.deadline is None else question.deadline
        super().__init__(list(samples), question.came_at, deadline, question.level)
        self.connection = connection
        self.id = question.id
        self.network = question.network
        self.has_left = False

    @property
    def is_gone(self) -> bool:
        return self.has_left or self.connection.is_closed


class Server:
    """One for the process, on its event loop; batches are computed and networks loaded by other threads."""

    def __init__(self, device: str, facts: dict[str, Any]) -> None:
        self._device = device
        self._facts = facts
        self._loop = asyncio.get_running_loop()
        self._loaders = ThreadPoolExecutor(2, thread_name_prefix="load-model")
        self._checkers = ThreadPoolExecutor(1, thread_name_prefix="check")
        self.networks = ModelRegistry(device, self._listener)

    def welcome(self, pid: int) -> ServerInfo:
        return ServerInfo(pid, self._device, self._facts, architectures.facts())

    def answer(self, connection: "Connection", question: Question) -> None:
        """Answer a question, now or later."""
        match question:
            case Predict():
                self._predict(connection, question)
            case Cancel(id=id):
                connection.leave(id)
            case Ping(id=id):
                connection.send(Pong(id))
            case Load():
                self._later(connection, question.id, self._loaders, lambda: self._load(connection, question))
            case Unload(network=number):
                self.networks.unload(number, connection)
            case ValidateArchitecture():
                self._later(connection, question.id, self._checkers, lambda: architectures.check(question))
            case _:
                assert_never(question)

    def _predict(self, connection: "Connection", question: Predict) -> None:
        network = self.networks.find(question.network)
        if network is None:
            connection.send(to_error(question.id, model_unloaded()))
            return
        asked = RemoteRequest(connection, question, network.sample_shape, network.dtype)
        try:
            network.batcher.put(asked)
        except BatcherClosed:
            connection.send(to_error(question.id, model_unloaded()))
        except ServiceError as error:
            connection.send(to_error(question.id, error))
        else:
            connection.waiting[question.id] = asked

    def _load(self, connection: "Connection", question: Load) -> Loaded:
        network = self.networks.load(question, connection)
        if connection.is_closed:
            self.networks.unload(network.number, connection)
        return Loaded(
            question.id,
            network.number,
            network.num_bytes,
            network.sample_shape,
            network.dtype,
            network.costs,
            network.device,
        )

    def _later(
        self, connection: "Connection", id: int, threads: ThreadPoolExecutor, work: Callable[[], Message]
    ) -> None:
        def run() -> None:
            try:
                message = work()
            except ServiceError as error:
                message = to_error(id, error)
            except Exception as error:
                log.exception("inference.bug", error=repr(error)[:500])
                message = to_error(id, ServiceError(f"A bug of ours in the inference process: {type(error).__name__}."))
            self._loop.call_soon_threadsafe(connection.send, message)

        threads.submit(run)

    def _listener(self, number: int) -> Callable[[BatchStats, list[Request]], None]:
        def hear(facts: BatchStats, done: list[Request]) -> None:
            self._loop.call_soon_threadsafe(self._tell, number, facts, done)

        return hear

    def _tell(self, number: int, facts: BatchStats, done: list[Request]) -> None:
        """Answer the callers of a batch with one message a connection; its facts go to one connection alone."""
        answers: dict[Connection, list[PredictResult]] = {}
        for asked in cast("list[RemoteRequest]", done):
            answers.setdefault(asked.connection, []).append(_scored(asked))
        if not answers and (holders := self.networks.clients(number)):
            answers[cast("Connection", holders[0])] = []
        size, num_failed, seconds, num_dropped, _ = facts
        for connection, scored in answers.items():
            others = self._num_others(number, connection)
            connection.send(BatchResult(number, size, num_failed, num_dropped, seconds, scored, others))
            size = num_failed = num_dropped = 0

    def _num_others(self, number: int, connection: "Connection") -> int:
        """How many pictures of others wait for a network; nobody counts where there are none."""
        others = {cast("Connection", one) for one in self.networks.clients(number) if one is not connection}
        return sum(asked.num_left for other in others for asked in other.waiting.values() if asked.network == number)


def model_unloaded() -> NotReady:
    return NotReady("The network has just left memory.", retry_after_s=1)


def _scored(asked: RemoteRequest) -> PredictResult:
    asked.connection.waiting.pop(asked.id, None)
    if any(outcome is None for outcome in asked.outcomes):
        return PredictResult(asked.id, b"", [], asked.waited_s)
    rows, errors = [], []
    for place, outcome in enumerate(asked.outcomes):
        if isinstance(outcome, ServiceError):
            errors.append((place, outcome.detail, str(outcome.facts.get("reason", ""))))
        elif outcome is not None:
            rows.append(outcome.tobytes())
    return PredictResult(asked.id, b"".join(rows), errors, asked.waited_s)


class Connection(asyncio.Protocol):
    """One process that asks. Its memory is what it sent along when it came."""

    def __init__(
        self, server: Server, memory: NDArray[np.uint8], pid: int, lost: Callable[["Connection"], None]
    ) -> None:
        self.memory = memory
        self.waiting: dict[int, RemoteRequest] = {}
        self.is_closed = False
        self._server = server
        self._pid = pid
        self._lost = lost
        self._frames = FrameDecoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.send(self._server.welcome(self._pid))

    def data_received(self, received: bytes) -> None:
        try:
            for frame in self._frames.feed(received):
                self._server.answer(self, decode_request(frame))
        except (ValueError, MsgspecError) as error:  # of another version than ours: there is no sense in going on
            log.error("inference.not_understood", error=str(error))  # noqa: TRY400 - the trace tells nothing more
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._server.networks.release_all(self)
        self._lost(self)

    def leave(self, id: int) -> None:
        """Whoever asked `id` has gone."""
        if id in self.waiting:
            self.waiting[id].has_left = True

    def send(self, message: Message) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.write(encode(message))
