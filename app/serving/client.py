"""One connection to the process with the networks: questions go out, each answer wakes whoever asked."""

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
    decode_response,
    encode,
    from_error,
)
from app.inference.shared_memory import Block, SharedMemoryFull, SharedMemoryPool
from app.inference.types import DEFAULT_LEVEL, BatchStats, Outcome, Pixels, deadline_exceeded
from core.errors import Overloaded, PredictionFailed, ServiceError, Unavailable

log = structlog.get_logger(__name__)

HOLD_S = 0.001

Listener = Callable[[BatchStats, Sequence[float]], None]
"""Hears of every batch of one network, with the seconds that each caller of ours who is answered now has waited."""


class _Waiting:
    """A caller whose pictures lie in the arena until the answer comes, even if the caller has gone."""

    def __init__(self, future: "asyncio.Future[list[Outcome]]", network: int, place: Block, count: int) -> None:
        self.future = future
        self.network = network
        self.place = place
        self.count = count


class InferenceClient(asyncio.Protocol):
    """Use it on its event loop. When it is lost, so are all who wait, with `Unavailable`."""

    def __init__(self, arena: SharedMemoryPool, lost: Callable[[], None]) -> None:
        self._arena = arena
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._frames = FrameDecoder()
        self._ids = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._listeners: dict[int, Listener] = {}
        self._held: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._num_asked: dict[int, int] = {}
        self.welcome: asyncio.Future[ServerInfo] = self._loop.create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, received: bytes) -> None:
        try:
            for frame in self._frames.feed(received):
                self._handle(decode_response(frame))
        except Exception:  # whoever waits must hear something: all do, when the connection is given up
            log.exception("inference.not_understood")
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._held.clear()
        self._flush()
        away = process_unavailable()
        for future in (*self._asked.values(), *(one.future for one in self._waiting.values()), self.welcome):
            if not future.done():
                future.set_exception(away)
        if self.welcome.done() and not self.welcome.cancelled():
            self.welcome.exception()  # it may be that nobody waits for it
        self._asked.clear()
        self._waiting.clear()
        self._lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, message: Message) -> None:
        """Send what nobody answers."""
        self._hold(message)
        self._flush()

    async def request(self, make: Callable[[int], Message]) -> Any:  # noqa: ANN401 - the answer that belongs to the question
        """Send a question that is made from its id, and wait for its answer.

        Raises:
            ServiceError: the answer is a refusal, or the process has gone.
        """
        id = next(self._ids)
        future = self._asked[id] = self._loop.create_future()
        try:
            self.send(make(id))
            return await future
        finally:
            self._asked.pop(id, None)

    def listen(self, network: int, listener: Listener) -> None:
        """Hear of the batches of a network from now on."""
        self._listeners[network] = listener

    def forget(self, network: int) -> None:
        """Hear no more."""
        self._listeners.pop(network, None)

    async def predict(
        self,
        network: int,
        images: Sequence[Pixels],
        came_at: float,
        deadline: float | None,
        level: int = DEFAULT_LEVEL,
    ) -> list[Outcome]:
        """Score pictures of the network's shape, at least one; whoever is cancelled costs no computing.

        Raises:
            Overloaded: no memory is left for the pictures that wait.
            DeadlineExceeded: the deadline came before their turn.
            Unavailable: the process has gone.
            ServiceError: it refused.
        """
        id, place = next(self._ids), self._place(sum(image.nbytes for image in images))
        offset, memory = place.offset, self._arena.memory
        for picture in images:
            memory[offset : offset + picture.nbytes] = picture.reshape(-1).view(np.uint8)
            offset += picture.nbytes
        future = self._loop.create_future()
        self._waiting[id] = _Waiting(future, network, place, len(images))
        try:
            self._hold(Predict(id, network, place.offset, len(images), came_at, deadline, level))
            self._flush_when_of_use(network)
            return cast("list[Outcome]", await future)
        except asyncio.CancelledError:
            if not self.is_lost:
                self.send(Cancel(id))
            raise

    def _hold(self, message: Message) -> None:
        if self._transport is None or self.is_lost:
            raise process_unavailable()
        self._held.append(encode(message))

    def _flush_when_of_use(self, network: int) -> None:
        """At once for a network that is idle; one that computes could not begin: then what comes meanwhile goes along.

        Every message wakes the other process, which costs more than all that is said in it.
        """
        self._num_asked[network] = self._num_asked.get(network, 0) + 1
        if self._num_asked[network] == 1:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(HOLD_S, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held and self._transport is not None:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def _place(self, num_bytes: int) -> Block:
        try:
            return self._arena.allocate(num_bytes)
        except SharedMemoryFull:
            raise Overloaded("Too many bytes of pictures are waiting.", retry_after_s=1) from None

    def _handle(self, answer: Message) -> None:
        match answer:
            case BatchResult():
                self._computed(answer)
            case ServerInfo():
                self.welcome.set_result(answer)
            case Error(id=id):
                error = from_error(answer)
                waiting = self._answered(id)
                future: asyncio.Future[Any] | None = self._asked.get(id) if waiting is None else waiting.future
                if future is not None and not future.done():
                    future.set_exception(error)
            case _:
                future = self._asked.get(answer.id)  # type: ignore[attr-defined]  # all others have one
                if future is not None and not future.done():
                    future.set_result(answer)

    def _answered(self, id: int) -> _Waiting | None:
        """Whoever asked for a prediction, whose memory is free again; None where something else was asked."""
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            self._arena.free(waiting.place)
            self._num_asked[waiting.network] -= 1
        return waiting

    def _computed(self, computed: BatchResult) -> None:
        self._flush()
        listener = self._listeners.get(computed.network)
        if listener is not None:  # first, so that whoever has an answer finds it counted
            facts = BatchStats(
                computed.size, computed.num_failed, computed.seconds, computed.num_dropped, computed.num_others
            )
            listener(facts, [scored.waited_s for scored in computed.answers])
        for scored in computed.answers:
            waiting = self._answered(scored.id)
            if waiting is None or waiting.future.done():
                continue
            if not scored.scores and len(scored.errors) < waiting.count:
                waiting.future.set_exception(deadline_exceeded())
            else:
                waiting.future.set_result(_outcomes(scored, waiting.count))


def process_unavailable() -> Unavailable:
    return Unavailable("The process that runs the networks has ended; it starts again.", retry_after_s=1)


def _outcomes(scored: PredictResult, count: int) -> list[Outcome]:
    num_rows = count - len(scored.errors)
    rows = np.frombuffer(scored.scores, np.float32).reshape(num_rows, len(scored.scores) // 4 // max(num_rows, 1))
    if not scored.errors:
        return list(rows)
    errors: dict[int, ServiceError] = {
        place: PredictionFailed(detail, **({"reason": reason} if reason else {}))
        for place, detail, reason in scored.errors
    }
    left = iter(rows)
    return [errors[place] if place in errors else next(left) for place in range(count)]
