"""API keys, Host, request ids, traces and metrics of every request."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.http import middleware
from app.http.body_budget import BodyBudget
from app.http.middleware import (
    SESSION_PATH,
    RequestContextMiddleware,
    format_size_limit,
    is_public_path,
    new_request_id,
)
from core.logging import REQUEST_FIELDS
from tests.support.http_service import SMALL
from tests.support.openapi_document import DOCUMENT

KEYS: Any = ("first-key", "second-key")
WRONG_KEYS = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer first-ke",
    "Bearer first-key-",
    "Basic first-key",
    "first-key",
    "Bearer ä",
]


class TestApiKeys:
    """A service with API keys."""

    @pytest.fixture
    def settings_options(self) -> dict[str, Any]:
        return {"api_keys": KEYS}

    def test_every_path_except_the_public_ones_requires_a_key(self, client: TestClient) -> None:
        for path, item in DOCUMENT["paths"].items():
            for method in item:
                response = client.request(method.upper(), re.sub(r"\{\w+\}", "1", path))
                if is_public_path(path) or (method, path) == ("post", SESSION_PATH):  # the key is in the body
                    assert response.status_code != 401, path
                else:
                    assert response.status_code == 401, path
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    if path.startswith("/v2"):
                        assert "API key" in response.json()["error"]
                    else:
                        assert response.json()["type"] == "/problems/unauthorized"
        assert client.get("/nowhere").status_code == 401

    @pytest.mark.parametrize("key", KEYS)
    def test_each_configured_key_is_accepted(self, client: TestClient, key: str) -> None:
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    @pytest.mark.parametrize("header", WRONG_KEYS)
    def test_a_wrong_key_is_rejected_before_the_body_is_read(self, client: TestClient, header: str) -> None:
        headers = [(b"Authorization", header.encode("latin-1"))]
        assert client.post("/v1/jobs", content=b"x" * 5_000_000, headers=headers).status_code == 401

    @pytest.mark.parametrize("name", ["api_key", "key", "token", "access_token", "authorization"])
    def test_a_key_in_the_address_is_not_accepted(self, client: TestClient, name: str) -> None:
        assert client.get(f"/v1/jobs?{name}=first-key").status_code == 401

    def test_a_rejected_key_is_in_the_access_log(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        entries: list[dict[str, Any]] = []
        monkeypatch.setattr(
            middleware, "log_info", lambda log, event, fields: entries.append({"event": event, **fields})
        )
        client.get("/v1/jobs", headers={"Authorization": "Bearer guessed"})
        (entry,) = entries
        assert (entry["event"], entry["path"], entry["status"]) == ("request.completed", "/v1/jobs", 401)
        assert entry["client"] == "testclient"
        assert "guessed" not in str(entry)


def test_a_request_without_a_host_is_rejected(client: TestClient) -> None:
    response = client.get("/v1/jobs", headers={"Host": ""})
    assert response.status_code == 400
    assert response.json()["type"] == "/problems/malformed-request"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/health/live", "/v1/jobs", "/v1/jobs/1", "/v2", "/metrics", "/nowhere"]
)
def test_browsers_must_not_guess_the_type_of_any_response(path: str, client: TestClient) -> None:
    assert client.get(path, follow_redirects=False).headers["X-Content-Type-Options"] == "nosniff"


def test_the_documentation_loads_and_embeds_nothing_of_other_sites(client: TestClient) -> None:
    headers = client.get("/docs").headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["Referrer-Policy"]) == ("DENY", "no-referrer")


def test_a_request_keeps_its_id_or_gets_one(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    invalid = client.get("/health/live", headers={"X-Request-ID": "a b\tc" * 50}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", invalid)


def test_new_request_ids_differ() -> None:
    assert len({new_request_id() for _ in range(100)}) == 100


async def test_log_lines_have_the_trace_of_the_request() -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    fields: list[dict[str, str]] = []

    async def app(*_: Any) -> None:
        fields.append(dict(REQUEST_FIELDS.get()))

    async def send(message: Any) -> None: ...

    async def receive() -> Any: ...

    for header in (f"00-{trace}-{span}-01", "x" * 10_000):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/health/live",
            "headers": [(b"traceparent", header.encode())],
        }
        await RequestContextMiddleware(app)(scope, receive, send)
    assert (fields[0]["trace_id"], fields[0]["parent_span_id"]) == (trace, span)
    assert fields[1].keys() == {"request_id"}


def test_a_request_is_counted_by_its_route_and_not_its_path(client: TestClient) -> None:
    client.get("/v1/jobs/0123456789abcdef")
    text = client.get("/metrics").text
    assert 'candela_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}' in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize("length", ["0" * 5000 + "1", "9" * 25, "1_0", "+1", "-1", "\xb2"])
async def test_an_unusual_length_of_a_body_is_rejected(length: str) -> None:
    statuses: list[int] = []

    async def app(*_: Any) -> None:
        raise AssertionError

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> Any: ...

    headers = [(b"content-length", length.encode("latin-1"))]
    scope = {"type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"", "headers": headers}
    await middleware.BodySizeLimitMiddleware(app, lambda _: 1000, lambda _: False, BodyBudget(1000))(
        scope, receive, send
    )
    assert statuses[0] == 413


def test_a_body_over_the_limit_is_rejected_with_the_limit(client: TestClient) -> None:
    response = client.post("/v1/jobs", content=b"x" * 5_000_000, headers={"Content-Type": "application/json"})
    limit = response.json()["facts"]["limit_bytes"]
    assert (response.status_code, response.json()["detail"]) == (413, format_size_limit(limit))
    assert client.post("/v1/jobs", json=SMALL).status_code == 202
