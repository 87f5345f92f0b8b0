"""Spans and log fields of attempts."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.collector import Collector, collector
from tests.support.supervision import SupervisorFactory
from worker.control.tracing import AttemptTracer

TRACE_ID, PARENT_SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def traced(
    queued: JobRow, sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Collector, AttemptTracer]]:
    """A job that was submitted in a trace, the collector of spans, and the worker's tracer."""
    with transaction(sqlite_sessions) as session:
        session.get_one(JobRow, queued.id).traceparent = f"00-{TRACE_ID}-{PARENT_SPAN_ID}-01"
    with collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        tracer = AttemptTracer.from_environment()
        yield running, tracer
        tracer.close()


def test_every_attempt_is_a_span_of_the_trace_of_its_request(
    make_supervisor: SupervisorFactory, get_job: Any, traced: tuple[Collector, AttemptTracer]
) -> None:
    spans, tracer = traced
    for plan, state in (("crash once", "queued"), ("succeed", "succeeded")):
        make_supervisor(plan, tracer=tracer).run(get_job().id)
        assert get_job().state == state
    tracer.close()
    first, second = sorted(spans.spans, key=lambda span: span.start)
    for span, number, state in ((first, "1", "queued"), (second, "2", "succeeded")):
        assert (span.service, span.name, span.trace_id) == ("candela-worker", "attempt train", TRACE_ID)
        assert (span.parent_id, span.status) == (PARENT_SPAN_ID, 0)
        assert span.attributes["candela.job.id"] == get_job().id
        assert (span.attributes["candela.attempt"], span.attributes["candela.job.state"]) == (number, state)
    assert first.end <= second.start


def test_the_span_of_a_failed_attempt_has_an_error_status(
    make_supervisor: SupervisorFactory, get_job: Any, traced: tuple[Collector, AttemptTracer]
) -> None:
    spans, tracer = traced
    make_supervisor("diverge", tracer=tracer).run(get_job().id)
    tracer.close()
    (span,) = spans.spans
    assert (span.attributes["candela.job.state"], span.status) == ("failed", 2)


def test_log_lines_of_an_attempt_name_the_trace_without_an_exporter(
    make_supervisor: SupervisorFactory, get_job: Any, sqlite_sessions: SessionFactory
) -> None:
    with transaction(sqlite_sessions) as session:
        session.get_one(JobRow, get_job().id).traceparent = f"00-{TRACE_ID}-{PARENT_SPAN_ID}-01"
    supervisor = make_supervisor("succeed")
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        supervisor.run(get_job().id)
    named = {(line["trace_id"], line["parent_span_id"]) for line in lines if line["event"].startswith("attempt.")}
    assert named == {(TRACE_ID, PARENT_SPAN_ID)}
