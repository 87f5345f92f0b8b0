"""An OpenTelemetry collector that receives spans over OTLP (HTTP, protobuf) and stores them."""

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
    """A received span. Ids are hexadecimal, times are nanoseconds, status 2 is an error."""

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
    """Stores all received spans."""

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
                is_trace = self.path == "/v1/traces"
                if is_trace:
                    collector.add_spans(ExportTraceServiceRequest.FromString(body))
                response = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if is_trace else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(response)))
                self.end_headers()
                self.wfile.write(response)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def add_spans(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {one.key: _to_text(one.value) for one in span.attributes}
                    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                    times = span.start_time_unix_nano, span.end_time_unix_nano
                    self.spans.append(Span(service, span.name, *ids, attributes, *times, span.status.code))

    def get_spans(self, trace_id: str, count: int) -> dict[str, Span]:
        """Wait for this number of spans of a trace and return them by name. They are sent every few seconds."""

        def select_spans() -> list[Span]:
            return [span for span in list(self.spans) if span.trace_id == trace_id]

        wait_for(lambda: len(select_spans()) >= count, f"{count} spans of the trace", 60)
        assert len(select_spans()) == count, select_spans()
        return {span.name: span for span in select_spans()}


def _to_text(value: object) -> str:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]  # protobuf creates it at run time
    return str(getattr(value, kind))


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port."""
    running = Collector()
    thread = threading.Thread(target=running.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
        thread.join()
