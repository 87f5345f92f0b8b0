"""Cross-origin requests of named origins; without names, no response has CORS headers."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

ORIGIN = "https://app.example.org"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
SENT = "authorization, content-type, idempotency-key, last-event-id, x-request-timeout, x-request-id"


def list_cors_headers(response: Any) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control")}


def test_cors_is_off_by_default(client: TestClient) -> None:
    responses = [client.options("/v1/jobs", headers=PREFLIGHT), client.get("/v1/jobs", headers={"Origin": ORIGIN})]
    assert [list_cors_headers(response) for response in responses] == [set(), set()]


class TestNamedOrigin:
    """A service with API keys that names one origin."""

    @pytest.fixture
    def settings_options(self) -> dict[str, Any]:
        return {"cors_origins": (ORIGIN,), "api_keys": ("first-key",)}

    def test_a_preflight_needs_no_key(self, client: TestClient) -> None:
        response = client.options("/v1/jobs", headers=PREFLIGHT | {"Access-Control-Request-Headers": SENT})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in response.headers

    def test_a_page_can_use_the_tus_protocol(self, client: TestClient) -> None:
        sent = "tus-resumable, upload-length, upload-metadata, upload-offset, upload-checksum, x-http-method-override"
        asked = {"Access-Control-Request-Headers": sent, "Access-Control-Request-Method": "PATCH"}
        assert client.options("/v1/uploads/x", headers=PREFLIGHT | asked).status_code == 200
        key = {"Authorization": "Bearer first-key"}
        response = client.options("/v1/uploads", headers=key | {"Origin": ORIGIN})
        assert response.headers["tus-version"] == "1.0.0"
        exposed = set(response.headers["access-control-expose-headers"].lower().split(", "))
        assert {"location", "upload-offset", "upload-length", "upload-expires", "upload-result"} <= exposed
        assert {"tus-resumable", "tus-version", "tus-extension", "tus-max-size"} <= exposed

    @pytest.mark.parametrize(
        "change",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"{ORIGIN}.evil.example"},
            {"Access-Control-Request-Method": "TRACE"},
            {"Access-Control-Request-Headers": "x-other"},
        ],
    )
    def test_other_preflights_are_problems(self, change: dict[str, str], client: TestClient) -> None:
        response = client.options("/v1/jobs", headers=PREFLIGHT | change)
        assert (response.status_code, response.json()["type"]) == (403, "/problems/cross-origin")
        assert ORIGIN in response.json()["detail"]
        assert list_cors_headers(response) == set()

    def test_the_page_can_read_responses_and_errors(self, client: TestClient) -> None:
        key = {"Authorization": "Bearer first-key", "Origin": ORIGIN}
        for headers, status in ((key, 200), ({"Origin": ORIGIN}, 401)):
            response = client.get("/v1/jobs", headers=headers)
            assert (response.status_code, response.headers["access-control-allow-origin"]) == (status, ORIGIN)
            exposed = response.headers["access-control-expose-headers"].split(", ")
            assert {"Location", "Retry-After", "X-Request-Id", "Inference-Header-Content-Length"} <= set(exposed)
            assert "Origin" in response.headers["vary"]

    def test_other_pages_can_not(self, client: TestClient) -> None:
        headers = {"Authorization": "Bearer first-key", "Origin": "http://evil.example"}
        assert "access-control-allow-origin" not in client.get("/v1/jobs", headers=headers).headers
