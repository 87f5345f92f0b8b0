"""Traces of predictions, from a real service with an inference process to a real collector."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import Collector, collector
from tests.support.predicting import IMAGE, ApiProcess, run_api_process
from tests.support.processes import wait_for
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.services, pytest.mark.slow]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def spans() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def api(
    spans: Collector, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, valkey: RedisServer
) -> Iterator[ApiProcess]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with run_api_process(tmp_path_factory.mktemp("traces"), sqlite_template, valkey.url, **settings) as running:
        yield running


def test_a_prediction_has_spans_in_the_trace_of_its_caller(api: ApiProcess, spans: Collector) -> None:
    assert api.predict(traceparent=f"00-{TRACE}-{CALLER}-01").status_code == 200
    found = spans.get_spans(TRACE, 4)
    request = found["POST /v1/models/{ref}/predict"]
    assert (request.service, request.parent_id) == ("candela-api", CALLER)
    assert request.attributes["http.route"] == "/v1/models/{ref}/predict"
    assert request.attributes["http.response.status_code"] == "200"
    stages = [found["decode"], found["queue"], found["compute"]]
    assert {stage.parent_id for stage in stages} == {request.span_id}
    times = [time for stage in stages for time in (stage.start, stage.end)]
    assert times == sorted(times), "the stages overlap"
    assert request.start <= times[0]
    assert times[-1] <= request.end
    expected = {"candela.model": "small", "candela.version": "2", "candela.batch_size": "1", "candela.images": "1"}
    assert found["compute"].attributes == expected


def test_the_open_inference_protocol_is_traced(api: ApiProcess, spans: Collector) -> None:
    trace_id = TRACE[::-1]
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01", "Inference-Header-Content-Length": "0"}
    assert api.http.post("/v2/models/small/infer", content=IMAGE, headers=headers).status_code == 200
    found = spans.get_spans(trace_id, 4)
    assert set(found) == {"POST /v2/models/{model}/infer", "decode", "queue", "compute"}


def test_a_request_without_a_trace_starts_one_with_its_id_in_the_log(api: ApiProcess, spans: Collector) -> None:
    response = api.http.get("/v1/models/small", headers={"X-Request-ID": "find-me"})
    assert response.status_code == 200

    def read_log_lines() -> list[Any]:
        lines = [json.loads(line) for line in (api.home / "api.log").read_text().splitlines() if "find-me" in line]
        return [line for line in lines if line["event"] == "request.completed"]

    (line,) = wait_for(read_log_lines, "the log line, which is written after the response")
    (span,) = spans.get_spans(line["trace_id"], 1).values()
    assert span.span_id == line["parent_span_id"]
    assert (span.name, span.parent_id) == ("GET /v1/models/{name}", "")


def test_an_unsampled_trace_is_not_recorded(api: ApiProcess, spans: Collector) -> None:
    unsampled, sampled = "1" * 32, "2" * 32
    api.predict(traceparent=f"00-{unsampled}-{CALLER}-00")
    api.predict(traceparent=f"00-{sampled}-{CALLER}-01")
    spans.get_spans(sampled, 4)
    assert unsampled not in {span.trace_id for span in spans.spans}


def test_health_checks_have_no_trace(api: ApiProcess, spans: Collector) -> None:
    for path in ("/health/live", "/health/ready", "/v2/health/ready", "/metrics"):
        assert api.http.get(path, headers={"traceparent": f"00-{'3' * 32}-{CALLER}-01"}).status_code == 200
    api.predict(traceparent=f"00-{'4' * 32}-{CALLER}-01")
    spans.get_spans("4" * 32, 4)
    assert "3" * 32 not in {span.trace_id for span in spans.spans}


def test_an_invalid_image_is_recorded_in_its_span(api: ApiProcess, spans: Collector) -> None:
    assert api.predict(content=b"not an image", traceparent=f"00-{'5' * 32}-{CALLER}-01").status_code == 422
    found = spans.get_spans("5" * 32, 2)
    assert found["decode"].attributes["candela.images_invalid"] == "1"
    assert found["POST /v1/models/{ref}/predict"].attributes["http.response.status_code"] == "422"
