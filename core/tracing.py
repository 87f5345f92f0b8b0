"""Parses `traceparent` headers, and exports spans as configured by `OTEL_…` environment variables."""

import os
import re
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger(__name__)

# Source: W3C Trace Context, 3.2. Headers of later versions start with the same fields.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SHUTDOWN_TIMEOUT_S = 2.0
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def parse_traceparent(header: str | None) -> str | None:
    """Convert a `traceparent` header to version 00 (55 characters). Return None if it is absent or invalid."""
    match = TRACEPARENT.fullmatch(header or "")
    return f"00-{match[1]}-{match[2]}-{match[3]}" if match else None


def build_log_fields(traceparent: str | None) -> dict[str, str]:
    """Return the trace id and the parent span id of a `traceparent` as log fields."""
    match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return {"trace_id": match[1], "parent_span_id": match[2]} if match else {}


def is_export_enabled() -> bool:
    """Return whether the `OTEL_…` environment variables enable the export of spans."""
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not is_off and any(os.environ.get(name) for name in ENDPOINTS)


def build_tracer_provider(component: str) -> "TracerProvider | None":
    """Build a tracer provider that exports spans in batches by OTLP over HTTP. Return None if export is disabled.

    OpenTelemetry is imported only if export is enabled. OpenTelemetry reads the endpoint, headers and sampler from
    `OTEL_…` variables.

    Args:
        component: `api` or `worker`. The service name is `candela-<component>` unless OTEL_SERVICE_NAME is set.
    """
    if not is_export_enabled():
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces.export_disabled", reason=str(error), hint="run pip install -e '.[otel]' in the repository")
        return None
    named = Resource({SERVICE_NAME: f"candela-{component}"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create().merge(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def shutdown_tracer_provider(provider: "TracerProvider") -> None:
    """Export the remaining spans and shut the provider down. Wait for at most SHUTDOWN_TIMEOUT_S."""
    thread = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    thread.start()
    thread.join(SHUTDOWN_TIMEOUT_S)
