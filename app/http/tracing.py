"""What a trace shows of a request: its decoding, its wait for a network, the computing; where anybody wants traces.

Nothing here is part of an application that exports none: no middleware, nothing around the decoder or the networks.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace  # the interface alone, which FastAPI brings
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware import route_template
from app.inference.types import DEFAULT_LEVEL, BatchStats
from app.serving.backend import Architecture, ArchitectureSummary, BatchListener, LoadedModel, LoadOptions, ModelBackend
from app.serving.decoding import Decoder, ImageShape, Sent
from app.serving.types import BundleRef, Outcome, Pixels
from core.errors import ServiceError
from core.tracing import close, provider_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

NOTHING: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
PROBES = ("/health/", "/v2/health/", "/metrics")
NANO = 1_000_000_000


class Tracing:
    """One for an application that exports spans. FastAPI makes that of a request."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("candela")

    @classmethod
    def configured(cls) -> "Tracing | None":
        """As OpenTelemetry's variables say; None where they ask for nothing."""
        provider = provider_of("api")
        return None if provider is None else cls(provider)

    @property
    def telemetry(self) -> TelemetryConfig:
        """What FastAPI is told: a span for every request but those of probes."""
        return {
            **NOTHING,
            "tracing": True,
            "tracer_provider": self._provider,
            "operation_spans": False,
            "exclude": lambda scope: str(scope["path"]).startswith(PROBES),
        }

    def add(self, app: FastAPI) -> None:
        """See requests before anything else does; to be called when everything else is there."""
        app.add_middleware(TraceContextMiddleware)

    def decoder(self, inner: Decoder) -> Decoder:
        return TracedDecoder(inner, self._tracer)

    def networks(self, inner: ModelBackend) -> ModelBackend:
        return TracedNetworks(inner, self._tracer)

    async def close(self) -> None:
        """Export what is left."""
        await asyncio.to_thread(close, self._provider)


class TraceContextMiddleware:
    """Let the rest of the service, its log and the jobs that are posted, go on from the request's own span."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = trace.get_current_span()
        here = span.get_span_context()
        if scope["type"] != "http" or not here.is_valid or not scope.get("fastapi.telemetry"):
            await self._app(scope, receive, send)
            return
        traceparent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}".encode()
        others = [(name, value) for name, value in scope["headers"] if name != b"traceparent"]
        scope["headers"] = [*others, (b"traceparent", traceparent)]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":  # the span ends with the last byte
                route = route_template(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            await send(message)

        await self._app(scope, receive, answer)


class TracedDecoder(Decoder):
    """Decodes as another one does, in a span."""

    def __init__(self, inner: Decoder, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    async def decode(self, sent: Sequence[Sent], image_shape: ImageShape, resize: str) -> list[Pixels | ServiceError]:
        with self._tracer.start_as_current_span("decode", attributes={"candela.pictures": len(sent)}) as span:
            decoded = await self._inner.decode(sent, image_shape, resize)
            refused = sum(isinstance(one, ServiceError) for one in decoded)
            span.set_attribute("candela.pictures_refused", refused)
            return decoded

    def close(self) -> None:
        self._inner.close()


class TracedNetworks:
    """Networks as others have them, which tell how long was waited for them and how long they took."""

    def __init__(self, inner: ModelBackend, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._tracer = tracer
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        await self._inner.start(back, lost)

    async def close(self) -> None:
        await self._inner.close()

    def check_ready(self) -> None:
        self._inner.check_ready()

    def facts(self) -> list[dict[str, Any]]:
        return self._inner.facts()

    def known(self) -> Mapping[str, Architecture]:
        return self._inner.known()

    def check(
        self,
        name: str,
        options: Mapping[str, Any],
        shape: tuple[int, ...],
        num_outputs: int,
        cardinalities: tuple[int, ...] = (),
    ) -> ArchitectureSummary:
        return self._inner.check(name, options, shape, num_outputs, cardinalities)

    def open(self, ref: BundleRef, folder: Path, allowed: LoadOptions, heard: BatchListener) -> LoadedModel:
        last = _LastBatch()

        def also_heard(facts: BatchStats, waited_s: Sequence[float], /) -> None:
            if facts.size and self._loop is not None:
                # Before those are woken whom it answers: each finds the batch that it was in.
                self._loop.call_soon_threadsafe(last.set, Batch(facts.size, facts.seconds, time.time_ns()))
            heard(facts, waited_s)

        return TracedNetwork(self._inner.open(ref, folder, allowed, also_heard), ref, last, self._tracer)


class Batch(NamedTuple):
    """Pictures, the seconds that they took, and when they were done, in nanoseconds of the wall clock."""

    size: int
    seconds: float
    ended_ns: int


class _LastBatch:
    def __init__(self) -> None:
        self.batch: Batch | None = None

    def set(self, batch: Batch) -> None:
        self.batch = batch


class TracedNetwork:
    """A network whose callers have two spans: `queue` till their last batch began, and `compute`, that batch."""

    def __init__(self, inner: LoadedModel, ref: BundleRef, last: _LastBatch, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._last = last
        self._tracer = tracer
        self._whose = {"candela.model": ref.model, "candela.version": ref.version}
        self.join = inner.join
        self.close = inner.close

    @property
    def num_waiting(self) -> int:
        return self._inner.num_waiting

    @property
    def num_bytes(self) -> int:
        return self._inner.num_bytes

    @property
    def device(self) -> str:
        return self._inner.device

    @property
    def is_lost(self) -> bool:
        return self._inner.is_lost

    @property
    def costs(self) -> list[tuple[int, float]]:
        return self._inner.costs

    async def submit(
        self, images: Sequence[Pixels], deadline: float | None = None, level: int = DEFAULT_LEVEL
    ) -> list[Outcome]:
        began_ns = time.time_ns()
        queue = self._tracer.start_span("queue", start_time=began_ns, attributes=self._whose)
        try:
            outcomes = await self._inner.submit(images, deadline, level)
        except BaseException as error:
            queue.record_exception(error)
            queue.set_status(trace.StatusCode.ERROR, type(error).__name__)
            queue.end()
            raise
        batch = self._last.batch or Batch(0, 0.0, time.time_ns())
        computing_ns = max(began_ns, batch.ended_ns - int(batch.seconds * NANO))
        queue.end(computing_ns)
        sizes = {"candela.pictures": len(images), "candela.batch_size": batch.size}
        compute = self._tracer.start_span("compute", start_time=computing_ns, attributes={**self._whose, **sizes})
        compute.end(batch.ended_ns)
        return outcomes
