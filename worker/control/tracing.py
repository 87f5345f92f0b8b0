"""Traces each attempt as an OpenTelemetry span, in the trace of the request that submitted the job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import NotFound
from core.jobs import JobState
from core.tracing import build_log_fields, build_tracer_provider, shutdown_tracer_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class AttemptTracer:
    """Exports one span per attempt, and adds the job's id, attempt number and trace id to the attempt's log lines.

    If no tracer provider is given, no spans are exported.
    """

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider

    @classmethod
    def from_environment(cls) -> "AttemptTracer":
        """Create a tracer that OpenTelemetry's environment variables configure."""
        return cls(build_tracer_provider("worker"))

    def close(self) -> None:
        """Export the spans that are not exported yet."""
        if self._provider is not None:
            shutdown_tracer_provider(self._provider)

    @contextmanager
    def trace_attempt(self, job: JobRow, sessions: SessionFactory) -> Iterator[None]:
        """Trace an attempt of the job until the context is closed."""
        end_span = self._start_span(job, sessions)
        with structlog.contextvars.bound_contextvars(
            job_id=job.id, attempt=job.attempt, **build_log_fields(job.traceparent)
        ):
            try:
                yield
            finally:
                end_span()

    def _start_span(self, job: JobRow, sessions: SessionFactory) -> Callable[[], None]:
        """Start a span. Return the function that ends it."""
        if self._provider is None:
            return lambda: None
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": job.traceparent} if job.traceparent else {}
        span = self._provider.get_tracer("candela").start_span(
            f"attempt {job.kind}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes={
                "candela.job.id": job.id,
                "candela.job.name": job.name,
                "candela.job.kind": job.kind,
                "candela.attempt": job.attempt,
            },
        )

        def end_span() -> None:
            state, code = _read_outcome(job.id, sessions)
            span.set_attribute("candela.job.state", state)
            if state == JobState.FAILED:
                span.set_status(StatusCode.ERROR, code)
            span.end()

        return end_span


def _read_outcome(job_id: str, sessions: SessionFactory) -> tuple[str, str]:
    """Return the state of the job after the attempt, and its failure code, or "" if the job did not fail."""
    try:
        with transaction(sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            return str(job.state), str((job.failure or {}).get("code", ""))
    except NotFound:
        return "deleted", ""
    except Exception:  # noqa: BLE001 - the database may be unavailable; tracing must not break an attempt
        return "unknown", ""
