"""Tracing of an application: it is enabled only if it is configured."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.http.middleware import RequestContextMiddleware
from app.http.tracing import PredictionTracer, TraceContextMiddleware
from app.main import create_app
from app.serving.types import BundleRef
from core.db.session import transaction
from core.db.tables import JobRow
from core.settings import Settings
from core.tracing import ENDPOINTS
from tests.support.collector import Collector, collector
from tests.support.http_service import SMALL, service_state

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(autouse=True)
def clear_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def first_layer(app: FastAPI) -> Any:
    return app.user_middleware[0].cls


def test_without_a_collector_tracing_is_disabled() -> None:
    app = create_app(Settings())
    assert first_layer(app) is RequestContextMiddleware
    assert not app._native_telemetry.enabled()


def test_with_a_collector_the_tracing_middleware_is_first(spans: Collector) -> None:
    app = create_app(Settings())
    assert first_layer(app) is TraceContextMiddleware
    assert app._native_telemetry.enabled()


def submit_and_read_trace(tmp_path: Path, template: Path, headers: dict[str, str]) -> str | None:
    """Submit a job and its clone, and return the trace that is stored with both."""
    with service_state(tmp_path, template) as state, TestClient(create_app(state=state)) as client:
        response = client.post("/v1/jobs", json=SMALL, headers=headers)
        assert response.status_code == 202, response.text
        clone = client.post(f"/v1/jobs/{response.json()['id']}/clone", json={"epochs": 2}, headers=headers)
        with transaction(state.sessions, read_only=True) as session:
            stored = {session.get_one(JobRow, one.json()["id"]).traceparent for one in (response, clone)}
            assert len(stored) == 1 or all(stored)
            return stored.pop()


def test_a_job_stores_the_trace_of_its_request(tmp_path: Path, sqlite_template: Path) -> None:
    header = f"00-{TRACE}-{CALLER}-01"
    assert submit_and_read_trace(tmp_path, sqlite_template, {"traceparent": header}) == header


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-nonsense"}])
def test_a_job_without_a_trace_has_none(tmp_path: Path, sqlite_template: Path, headers: dict[str, str]) -> None:
    assert submit_and_read_trace(tmp_path, sqlite_template, headers) is None


def test_the_trace_of_a_job_has_the_span_of_its_request_as_parent(
    tmp_path: Path, sqlite_template: Path, spans: Collector
) -> None:
    stored = submit_and_read_trace(tmp_path, sqlite_template, {"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert stored is not None
    found = spans.get_spans(TRACE, 2)
    posting = {f"00-{TRACE}-{span.span_id}-01" for span in found.values()}
    assert set(found) == {"POST /v1/jobs", "POST /v1/jobs/{job_id}/clone"}
    assert stored in posting


def test_exporter_headers_come_from_the_environment(
    tmp_path: Path, sqlite_template: Path, spans: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=me")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    submit_and_read_trace(tmp_path, sqlite_template, {"traceparent": f"00-{TRACE}-{CALLER}-01"})
    spans.get_spans(TRACE, 2)
    assert {headers["x-tenant"] for headers in spans.headers} == {"me"}
    assert {headers["content-encoding"] for headers in spans.headers} == {"gzip"}


def test_an_unreachable_collector_does_not_affect_requests(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with service_state(tmp_path, sqlite_template) as state:
        with TestClient(create_app(state=state)) as client:
            assert {client.get("/v1/jobs").status_code for _ in range(20)} == {200}
            stopping_at = time.monotonic()
        assert time.monotonic() - stopping_at < 60


BUNDLE = BundleRef("jobs/1/bundle", (), "shapes", "2")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> PredictionTracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return PredictionTracer(provider.get_tracer("test"))


async def test_a_prediction_has_a_queue_span_and_a_compute_span(
    tracer: PredictionTracer, exporter: InMemorySpanExporter
) -> None:
    with tracer.observe_prediction(BUNDLE, 3):
        await asyncio.sleep(0.02)
        await asyncio.to_thread(tracer.record_batch, BUNDLE, 8, 0.005)
        await asyncio.sleep(0)
    queue, compute = exporter.get_finished_spans()
    assert (queue.name, compute.name) == ("queue", "compute")
    assert dict(compute.attributes or {}) == {
        "candela.model": "shapes",
        "candela.version": "2",
        "candela.images": 3,
        "candela.batch_size": 8,
    }
    assert queue.end_time == compute.start_time
    assert compute.end_time is not None
    assert compute.start_time is not None
    assert compute.end_time - compute.start_time == 5_000_000


async def test_a_failed_prediction_has_a_queue_span_with_the_error(
    tracer: PredictionTracer, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(LookupError), tracer.observe_prediction(BUNDLE, 1):
        raise LookupError("no")
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("queue", False)
