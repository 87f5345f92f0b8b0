"""Records OpenTelemetry spans of requests, image decoding, time in the queue and batch computation.

If the export of traces is not configured, the application does not use the middleware and wrappers of this module.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace  # FastAPI requires `opentelemetry-api`; `opentelemetry-sdk` is optional
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware import get_route_template
from app.serving.decoding import Decoder, ImageInput, ImageShape
from app.serving.types import BundleRef, CacheKey, Pixels
from core.errors import ServiceError
from core.resizing import ResizePolicy
from core.tracing import build_tracer_provider, shutdown_tracer_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

DISABLED_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
PROBE_PATHS = ("/health/", "/v2/health/", "/metrics")
NS_PER_S = 1_000_000_000


class Tracing:
    """Configures the tracing of one application. FastAPI itself creates the span of each request."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("candela")

    @classmethod
    def from_environment(cls) -> "Tracing | None":
        """Return the tracing that OpenTelemetry's environment variables configure, or None if they disable tracing."""
        provider = build_tracer_provider("api")
        return None if provider is None else cls(provider)

    @property
    def telemetry(self) -> TelemetryConfig:
        """FastAPI's telemetry configuration: a span for each request, except for health checks and `/metrics`."""
        return {
            **DISABLED_TELEMETRY,
            "tracing": True,
            "tracer_provider": self._provider,
            "operation_spans": False,
            "exclude": lambda scope: str(scope["path"]).startswith(PROBE_PATHS),
        }

    def add_middleware(self, app: FastAPI) -> None:
        """Add the tracing middleware. Call this last: the middleware that is added last handles requests first."""
        app.add_middleware(TraceContextMiddleware)

    def wrap_decoder(self, decoder: Decoder) -> Decoder:
        """Return a decoder that calls `decoder` and records a span for each call."""
        return TracedDecoder(decoder, self._tracer)

    def build_observer(self) -> "PredictionTracer":
        """Return an observer that records the spans of predictions."""
        return PredictionTracer(self._tracer)

    async def close(self) -> None:
        """Export the remaining spans."""
        await asyncio.to_thread(shutdown_tracer_provider, self._provider)


class TraceContextMiddleware:
    """Sets the `traceparent` header to the ids of the request's span, and names the span after the route.

    Log lines and submitted jobs take their trace from this header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        span = trace.get_current_span()
        context = span.get_span_context()
        if scope["type"] != "http" or not context.is_valid or not scope.get("fastapi.telemetry"):
            await self._app(scope, receive, send)
            return
        traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}".encode()
        others = [(name, value) for name, value in scope["headers"] if name != b"traceparent"]
        scope["headers"] = [*others, (b"traceparent", traceparent)]

        async def send_and_name_span(message: Message) -> None:
            if message["type"] == "http.response.start":  # the span is open here, so it can be renamed
                route = get_route_template(scope)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            await send(message)

        await self._app(scope, receive, send_and_name_span)


class TracedDecoder(Decoder):
    """A decoder that records a `decode` span for each call of the wrapped decoder."""

    def __init__(self, inner: Decoder, tracer: trace.Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    async def decode(
        self, inputs: Sequence[ImageInput], image_shape: ImageShape, resize: ResizePolicy, *, num_views: int = 1
    ) -> list[Pixels | ServiceError]:
        with self._tracer.start_as_current_span("decode", attributes={"candela.images": len(inputs)}) as span:
            decoded = await self._inner.decode(inputs, image_shape, resize, num_views=num_views)
            num_invalid = sum(isinstance(image, ServiceError) for image in decoded)
            span.set_attribute("candela.images_invalid", num_invalid)
            return decoded

    def close(self) -> None:
        self._inner.close()


class BatchTiming(NamedTuple):
    """Size, duration and end time of a computed batch. `ended_ns` is wall-clock time in nanoseconds."""

    size: int
    seconds: float
    ended_ns: int


class PredictionTracer:
    """Records two spans per prediction: `queue` until the last batch of the prediction starts, then `compute`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_batches: dict[CacheKey, BatchTiming] = {}

    def record_batch(self, bundle: BundleRef, size: int, seconds: float) -> None:
        """Store the timing of a computed batch.

        May be called on any thread. The event loop stores the timing before it resumes the callers of the batch.
        `observe_prediction` therefore reads this timing.
        """
        if self._loop is not None:
            batch = BatchTiming(size, seconds, time.time_ns())
            self._loop.call_soon_threadsafe(self._last_batches.__setitem__, bundle.cache_key, batch)

    @contextmanager
    def observe_prediction(self, bundle: BundleRef, num_samples: int) -> Iterator[None]:
        """Record the spans of a prediction. If the prediction fails, record only the `queue` span."""
        self._loop = asyncio.get_running_loop()
        labels = {"candela.model": bundle.model, "candela.version": bundle.version}
        started_ns = time.time_ns()
        queue_span = self._tracer.start_span("queue", start_time=started_ns, attributes=labels)
        try:
            yield
        except BaseException as error:
            queue_span.record_exception(error)
            queue_span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            queue_span.end()
            raise
        batch = self._last_batches.get(bundle.cache_key) or BatchTiming(0, 0.0, time.time_ns())
        compute_ns = max(started_ns, batch.ended_ns - int(batch.seconds * NS_PER_S))
        queue_span.end(compute_ns)
        sizes = {"candela.images": num_samples, "candela.batch_size": batch.size}
        compute_span = self._tracer.start_span("compute", start_time=compute_ns, attributes={**labels, **sizes})
        compute_span.end(batch.ended_ns)
