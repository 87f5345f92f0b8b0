"""A web page opens a session with a key and uses the API with its cookie."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.http.browser_sessions import LOOPBACK_COOKIE, SECURE_COOKIE
from app.main import create_app
from app.services.browser_sessions import get_key_id
from app.state import State
from tests.support.http_service import SMALL

KEYS: Any = ("first-key", "second-key")
SAME = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {"api_keys": KEYS, "max_wrong_keys_per_min": 3, "allowed_hosts": ()}


@pytest.fixture
def page(state: State) -> Iterator[TestClient]:
    """A browser with a page of the service on loopback."""
    with TestClient(create_app(state=state), base_url="http://127.0.0.1:8000") as client:
        yield client
        assert client.portal is not None
        client.portal.call(state.model_server.close)


def open_session(page: TestClient, key: str = KEYS[0]) -> Any:
    return page.post("/v1/session", json={"key": key}, headers=SAME)


def test_a_page_opens_uses_and_closes_a_session(page: TestClient) -> None:
    assert page.get("/v1/session").status_code == 401
    response = open_session(page, KEYS[1])
    assert response.status_code == 201, response.text
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{LOOPBACK_COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert response.headers["cache-control"] == "no-store"
    assert KEYS[1] not in response.text
    shown = page.get("/v1/session")
    assert shown.json() == response.json()
    assert (shown.json()["authentication"], shown.json()["key_id"]) == ("session", get_key_id(KEYS[1]))
    assert page.get("/v1/jobs").status_code == 200
    assert page.post("/v1/jobs", json=SMALL, headers=SAME).status_code == 202
    old = dict(page.cookies)
    assert page.delete("/v1/session", headers=SAME).status_code == 204
    assert not page.cookies
    assert page.get("/v1/jobs", headers={"Cookie": f"{LOOPBACK_COOKIE}={old[LOOPBACK_COOKIE]}"}).status_code == 401


@pytest.mark.parametrize("host", ["candela.example.org", "10.0.0.1:8000"])
def test_the_cookie_requires_https_except_on_loopback(page: TestClient, host: str) -> None:
    response = page.post("/v1/session", json={"key": KEYS[0]}, headers={"Host": host})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{SECURE_COOKIE}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    token = cookie.split("=", 1)[1].split(";")[0]
    sent = [f"{SECURE_COOKIE}={token}", f"{LOOPBACK_COOKIE}={token}"]
    statuses = [page.get("/v1/jobs", headers={"Host": host, "Cookie": each}).status_code for each in sent]
    assert statuses == [200, 401]  # another host of the domain can set the second


def test_a_key_in_the_header_needs_no_session(page: TestClient) -> None:
    response = page.get("/v1/session", headers={"Authorization": f"Bearer {KEYS[0]}"})
    assert response.json() | {"created_at": None} == {
        "authentication": "key",
        "key_id": get_key_id(KEYS[0]),
        "created_at": None,
        "expires_at": None,
        "idle_expires_at": None,
    }
    page.headers["Authorization"] = f"Bearer {KEYS[0]}"
    assert page.delete("/v1/session").status_code == 204


def test_wrong_keys_in_the_body_are_limited_like_those_in_the_header(page: TestClient) -> None:
    assert [open_session(page, f"guess-{number}").status_code for number in range(5)] == [401, 401, 401, 429, 429]
    assert open_session(page).status_code == 429
    response = page.get("/v1/jobs", headers={"Authorization": "Bearer guess"})
    assert response.status_code == 429


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({}, "/key"), ({"key": ""}, "/key"), ({"key": "a" * 2000}, "/key"), ({"key": "a", "user": "b"}, "/user")],
)
def test_an_invalid_body_is_rejected_with_its_place(page: TestClient, body: Any, pointer: str) -> None:
    response = page.post("/v1/session", json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert "a" * 30 not in response.text


def test_without_keys_there_is_nothing_to_open(page: TestClient, state: State) -> None:
    open_state = state.settings.model_copy(update={"api_keys": ()})
    assert page.get("/v1/session", headers={"Authorization": f"Bearer {KEYS[0]}"}).json()["authentication"] == "key"
    state.settings = open_state
    state.__post_init__()
    with TestClient(create_app(state=state), base_url="http://127.0.0.1:8000") as keyless:
        assert keyless.get("/v1/session").json() == {
            "authentication": "none",
            "key_id": None,
            "created_at": None,
            "expires_at": None,
            "idle_expires_at": None,
        }
        assert keyless.post("/v1/session", json={"key": "any"}).status_code == 409
