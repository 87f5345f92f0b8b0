"""An attempt as a span of the trace in which its job was posted; its lines of the log name that trace too."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import NotFound
from core.jobs import JobState
from core.tracing import close, log_fields, provider_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class AttemptTracer:
    """One for a worker. Without a provider, attempts are only named in the log."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider

    @classmethod
    def configured(cls) -> "AttemptTracer":
        """As OpenTelemetry's variables say."""
        return cls(provider_of("worker"))

    def close(self) -> None:
        """Export what is left."""
        if self._provider is not None:
            close(self._provider)

    @contextmanager
    def attempt(self, job: JobRow, sessions: SessionFactory) -> Iterator[None]:
        """While it lasts, an attempt of the job is made."""
        end = self._begin(job, sessions)
        with structlog.contextvars.bound_contextvars(job_id=job.id, attempt=job.attempt, **log_fields(job.traceparent)):
            try:
                yield
            finally:
                end()

    def _begin(self, job: JobRow, sessions: SessionFactory) -> Callable[[], None]:
        """Begin a span; what is returned ends it."""
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

        def end() -> None:
            state, code = _outcome(job.id, sessions)
            span.set_attribute("candela.job.state", state)
            if state == JobState.FAILED:
                span.set_status(StatusCode.ERROR, code)
            span.end()

        return end


def _outcome(job_id: str, sessions: SessionFactory) -> tuple[str, str]:
    """The state that the attempt left its job in, and why it failed, if it did."""
    try:
        with transaction(sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            return str(job.state), str((job.failure or {}).get("code", ""))
    except NotFound:
        return "deleted", ""
    except Exception:  # noqa: BLE001 - the database may be away: what only watches must not break what it watches
        return "unknown", ""
