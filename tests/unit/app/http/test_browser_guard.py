"""Requests that a foreign web page sends through a user's browser, to the whole service."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.http.browser_guard import MAX_ACCEPTED, BrowserGuardMiddleware
from tests.support.http_service import SMALL

HOST = "127.0.0.1:8000"
EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
NAMED = "https://app.example.org"
KEYS: Any = ("first-key",)
UNSAFE = [
    ("POST", "/v1/datasets/pets/versions"),
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/1/cancel"),
    ("PATCH", "/v1/jobs/1"),
    ("DELETE", "/v1/datasets/pets/versions/1"),
    ("PUT", "/v1/models/pets/aliases/champion"),
    ("POST", "/v1/models/pets/predict"),
    ("POST", "/v2/models/pets/infer"),
    ("POST", "/v2/repository/models/pets/unload"),
    ("POST", "/nowhere"),
    ("TRACE", "/v1/jobs"),
]


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {"allowed_hosts": ()}


@pytest.fixture(autouse=True)
def our_host(client: TestClient) -> None:
    client.headers["Host"] = HOST


@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_an_unsafe_request_of_a_foreign_page_is_a_403(method: str, path: str, client: TestClient) -> None:
    response = client.request(method, path, content=b"{}", headers=EVIL)
    assert response.status_code == 403
    assert response.headers["connection"] == "close", "the body is not read"
    assert response.headers["x-request-id"]
    if not path.startswith("/v2"):
        problem = response.json()
        assert problem["type"] == "/problems/cross-origin"
        assert "http://evil.example" in problem["detail"]
        assert HOST in problem["detail"]


@pytest.mark.parametrize("headers", [{"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, EVIL | {"Cookie": "a=b"}])
def test_each_sign_of_a_foreign_page_is_enough(headers: dict[str, str], client: TestClient) -> None:
    assert client.post("/v1/jobs", json=SMALL, headers=headers).status_code == 403
    assert client.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_request_of_a_foreign_page_is_accepted(method: str, client: TestClient) -> None:
    response = client.request(method, "/v1/jobs", headers=EVIL)
    assert response.status_code < 300
    assert not any(name.startswith("access-control") for name in response.headers)


def test_our_own_pages_and_other_clients_are_accepted(client: TestClient) -> None:
    own = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/jobs", json=SMALL, headers=own).status_code == 202
    assert client.post("/v1/jobs", json=SMALL).status_code == 202


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v2/models/pets", "/docs", "/health/live", "/nowhere"])
def test_a_foreign_host_is_a_403(method: str, path: str, client: TestClient) -> None:
    rebound = {"Host": "rebind.evil.example:8000", "Origin": "http://rebind.evil.example:8000"}
    response = client.request(method, path, headers=rebound | {"Sec-Fetch-Site": "same-origin"})
    assert response.status_code == 403
    assert "rebind.evil.example" in response.text
    assert "CANDELA_ALLOWED_HOSTS" in response.text
    if not path.startswith("/v2"):
        assert response.json()["type"] == "/problems/host-not-allowed"


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "app.localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_loopback_names_with_any_port_are_accepted(host: str, client: TestClient) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("value", ["", "127.0.0.1/x", "a b", "127.0.0.1, evil.example", "[::1", "localhost:99999"])
def test_a_missing_or_malformed_host_is_a_400(value: str, client: TestClient) -> None:
    response = client.get("/v1/jobs", headers={"Host": value})
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize("second", [b"127.0.0.1:8000", b"evil.example", b""])
def test_two_hosts_are_a_400(second: bytes, client: TestClient) -> None:
    del client.headers["Host"]
    response = client.get("/v1/jobs", headers=[(b"Host", HOST.encode()), (b"Host", second)])
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")
    assert "one Host header" in response.json()["detail"]


class TestWithKeysAndNames:
    """A service with API keys, an allowed host and a named origin."""

    @pytest.fixture
    def settings_options(self) -> dict[str, Any]:
        return {"api_keys": KEYS, "allowed_hosts": ("candela.example.org",), "cors_origins": (NAMED,)}

    @pytest.fixture(autouse=True)
    def our_host(self, client: TestClient) -> None:
        client.headers |= {"Host": "candela.example.org", "Authorization": "Bearer first-key"}

    def test_a_named_origin_is_accepted_with_a_key(self, client: TestClient) -> None:
        headers = {"Origin": NAMED, "Sec-Fetch-Site": "cross-site"}
        response = client.post("/v1/jobs", json=SMALL, headers=headers)
        assert response.status_code == 202
        assert response.headers["access-control-allow-origin"] == NAMED
        assert client.post("/v1/jobs", json=SMALL, headers=headers | {"Authorization": ""}).status_code == 401

    def test_a_key_does_not_help_another_origin(self, client: TestClient) -> None:
        response = client.post("/v1/jobs", json=SMALL, headers=EVIL)
        assert response.status_code == 403
        assert NAMED in response.json()["detail"]

    def test_other_hosts_are_rejected_and_addresses_accepted(self, client: TestClient) -> None:
        assert client.get("/v1/jobs", headers={"Host": "evil.example"}).status_code == 403
        assert client.get("/health/live", headers={"Host": "10.1.2.3:8000"}).status_code == 200


class TestWithKeys:
    """A service with API keys alone accepts every host: another site's page cannot supply a key."""

    @pytest.fixture
    def settings_options(self) -> dict[str, Any]:
        return {"api_keys": KEYS, "allowed_hosts": ()}

    def test_every_host_is_accepted(self, client: TestClient) -> None:
        headers = {"Host": "candela.example.org", "Authorization": "Bearer first-key"}
        assert client.get("/v1/jobs", headers=headers).status_code == 200


async def test_the_remembered_hosts_are_bounded() -> None:
    num_calls = 0

    async def app(*_: Any) -> None:
        nonlocal num_calls
        num_calls += 1

    guard: Any = BrowserGuardMiddleware(app, allowed_hosts=("*",), cors_origins=(), has_keys=False)
    for number in range(3 * MAX_ACCEPTED):
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"h%d" % number)]}
        await guard(scope, None, None)
    assert (num_calls, len(guard._accepted)) == (3 * MAX_ACCEPTED, MAX_ACCEPTED)
