"""An OpenTelemetry collector: it takes spans by OTLP over HTTP as protobuf, and keeps them."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.processes import wait_for


class Span(NamedTuple):
    """A span as it came; ids are in hexadecimal, times in nanoseconds, status 2 is an error."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]
    start: int
    end: int
    status: int


class Collector:
    """All spans that came."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                known = self.path == "/v1/traces"
                if known:
                    collector.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {one.key: _text(one.value) for one in span.attributes}
                    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                    times = span.start_time_unix_nano, span.end_time_unix_nano
                    self.spans.append(Span(service, span.name, *ids, attributes, *times, span.status.code))

    def of(self, trace_id: str, count: int) -> dict[str, Span]:
        """The spans of a trace by name, as soon as there are so many; they are sent every few seconds."""

        def found() -> list[Span]:
            return [span for span in list(self.spans) if span.trace_id == trace_id]

        wait_for(lambda: len(found()) >= count, f"{count} spans of the trace", 60)
        assert len(found()) == count, found()
        return {span.name: span for span in found()}


def _text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]  # protobuf makes it at run time
    return str(getattr(value, kind))


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""
    running = Collector()
    thread = threading.Thread(target=running.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
        thread.join()
