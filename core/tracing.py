"""Traces across processes: what a `traceparent` says, and where spans go; OpenTelemetry's own variables decide that."""

import os
import re
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger(__name__)

# Source: W3C Trace Context, 3.2. Later versions begin as this one does.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SHUTDOWN_TIMEOUT_S = 2.0
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def parse_traceparent(header: str | None) -> str | None:
    """A caller's trace as it is stored, 55 characters; None where the header is none, or is not one."""
    match = TRACEPARENT.fullmatch(header or "")
    return f"00-{match[1]}-{match[2]}-{match[3]}" if match else None


def build_log_fields(traceparent: str | None) -> dict[str, str]:
    """The trace, and the span that it comes from, for every line of the log."""
    match = TRACEPARENT.fullmatch(traceparent or "")
    return {"trace_id": match[1], "parent_span_id": match[2]} if match else {}


def is_export_enabled() -> bool:
    """Whether OpenTelemetry's variables say that spans are exported."""
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not is_off and any(os.environ.get(name) for name in ENDPOINTS)


def build_tracer_provider(component: str) -> "TracerProvider | None":
    """Where a process's spans go, by OTLP over HTTP in batches and beside its work; None where nobody wants them.

    Nothing of OpenTelemetry is imported unless it is wanted. Its variables name endpoint, headers, sampler and service.

    Args:
        part: `api` or `worker`; the service is `candela-api` unless OTEL_SERVICE_NAME says another.
    """
    if not is_export_enabled():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces.not_exported", reason=str(error), hint="pip install candela[otel]")
        return None
    named = Resource({SERVICE_NAME: f"candela-{component}"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create().merge(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def shutdown_tracer_provider(provider: "TracerProvider") -> None:
    """Export what is left; a collector that does not answer is not waited for: a process that stops has no time."""
    thread = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    thread.start()
    thread.join(SHUTDOWN_TIMEOUT_S)
