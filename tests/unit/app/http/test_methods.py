"""HEAD, OPTIONS and Allow of every path."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app.http.methods import MethodsMiddleware
from app.problems.allowed_methods import METHODS
from app.state import State
from tests.support.http_service import SMALL
from tests.support.openapi_document import DOCUMENT

VARYING = {"x-request-id", "date"}


@pytest.fixture
def paths() -> dict[str, set[str]]:
    """The paths of the OpenAPI document with their methods."""
    found = {re.sub(r"\{\w+\}", "1", path): item for path, item in DOCUMENT["paths"].items()}
    return {path: {method.upper() for method in item} for path, item in found.items()}


def test_head_has_the_headers_of_get_and_no_body(client: TestClient, paths: dict[str, set[str]]) -> None:
    readable = [path for path, methods in paths.items() if "GET" in methods]
    for path in [*readable, "/docs", "/nowhere", "/v2", "/v2/models/1"]:
        if path == "/metrics":
            continue  # its content changes with every request
        get, head = client.get(path), client.head(path)
        assert head.status_code == get.status_code, path
        assert {k: v for k, v in head.headers.items() if k not in VARYING} == {
            k: v for k, v in get.headers.items() if k not in VARYING
        }, path
        assert head.content == b""


def test_options_and_405_list_the_methods_of_each_path(client: TestClient, paths: dict[str, set[str]]) -> None:
    for path, methods in paths.items():
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        options = client.options(path)
        assert (options.status_code, options.content) == (204, b""), path
        assert set(options.headers["allow"].split(", ")) == expected, path
        other = client.request(next(method for method in (*METHODS, "TRACE") if method not in expected), path)
        assert other.status_code == 405, path
        assert set(other.headers["allow"].split(", ")) == expected, path
        if other.request.method != "HEAD" and not path.startswith("/v2"):
            assert other.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v2", "GET, HEAD, OPTIONS"),
        ("/v2/models/pets/infer", "POST, OPTIONS"),
        ("/static-offline-docs/swagger-ui.css", "GET, HEAD, OPTIONS"),
        ("*", ", ".join(METHODS)),
    ],
)
async def test_mounted_paths_and_the_whole_server_have_methods(path: str, allow: str, client: TestClient) -> None:
    headers: dict[bytes, bytes] = {}

    async def send(message: Any) -> None:
        headers.update(message.get("headers", ()))

    scope = {"type": "http", "method": "OPTIONS", "path": path, "app": client.app}
    await MethodsMiddleware(None)(scope | {"headers": [], "query_string": b""}, None, send)  # type: ignore[arg-type]
    assert headers[b"allow"].decode() == allow


@pytest.mark.parametrize("path", ["/v1/jobs", "/docs", "/v2/models/a/infer", "/v1/models/a/predict"])
def test_trace_is_not_allowed(path: str, client: TestClient) -> None:
    assert client.request("TRACE", path).status_code == 405


def test_options_of_an_unknown_path_is_a_404(client: TestClient) -> None:
    assert client.options("/nowhere").json()["type"] == "/problems/not-found"
    assert client.options("/v2/nowhere").status_code == 404


def test_a_wrong_method_under_v2_lists_the_others(client: TestClient) -> None:
    response = client.get("/v2/models/pets/infer")
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")


def test_head_of_events_starts_no_stream(client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    job = client.post("/v1/jobs", json=SMALL).json()
    started: list[str] = []

    async def iterate(*_: Any) -> Any:
        started.append("stream")
        yield

    monkeypatch.setattr("app.services.event_stream.EventStream.__aiter__", iterate)
    response = client.head(f"/v1/jobs/{job['id']}/events")
    assert (response.status_code, started) == (200, [])
    assert response.headers["content-type"].startswith("text/event-stream")
    assert not state.event_streams._streams


def test_head_is_logged_and_counted_as_head(client: TestClient) -> None:
    client.head("/v1/jobs/0123456789abcdef")
    assert 'method="HEAD",route="/v1/jobs/{job_id}",status="404"' in client.get("/metrics").text


async def test_head_stops_a_response_after_its_head() -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["method"], scope["headers"]) == ("GET", [(b"accept", b"*/*")])
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"123456789"})

    messages: Iterator[Any] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"accept", b"*/*"), (b"range", b"bytes=0-1"), (b"if-range", b'"x"')]
    scope = {"type": "http", "method": "HEAD", "path": "/", "headers": headers, "app": Starlette()}
    await MethodsMiddleware(app)(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[0]["headers"], sent[1]["body"]) == ([(b"content-length", b"9")], b"")
