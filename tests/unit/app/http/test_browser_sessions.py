"""The cookie of a session replaces an API key, for pages of this service and while the session lasts."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.types import Message, Receive, Scope, Send

from app.http.browser_sessions import LOOPBACK_COOKIE, MAX_UNKNOWN, BrowserSessionMiddleware
from app.http.rate_limit import WrongKeyLimit
from app.main import create_app
from app.services.browser_sessions import BrowserSessions
from app.state import State
from tests.support.fakes import Clock
from tests.support.http_service import SMALL

KEYS: Any = ("first-key",)
OWN = "http://127.0.0.1:8000"


@pytest.fixture
def settings_options() -> dict[str, Any]:
    return {
        "api_keys": KEYS,
        "max_wrong_keys_per_min": 3,
        "max_requests_per_s": 0.001,
        "max_burst_requests": 8,
        "cors_origins": ("http://other.localhost",),
    }


@pytest.fixture
def page(state: State) -> Iterator[TestClient]:
    """A browser with an open session."""
    with TestClient(create_app(state=state), base_url=OWN) as client:
        assert client.post("/v1/session", json={"key": KEYS[0]}).status_code == 201
        yield client
        assert client.portal is not None
        client.portal.call(state.model_server.close)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": OWN}, 202),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-origin"}, 202),
        ({}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": OWN, "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://other.localhost"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_write_needs_a_sign_of_the_same_origin(page: TestClient, headers: dict[str, str], status: int) -> None:
    response = page.post("/v1/jobs", json=SMALL, headers=headers)
    assert response.status_code == status, response.text
    if status == 403:
        assert response.json()["type"] == "/problems/cross-origin"
    assert page.get("/v1/jobs").status_code == 200


def test_requests_of_a_session_count_for_its_key(page: TestClient) -> None:
    key = {"Authorization": f"Bearer {KEYS[0]}"}
    statuses = [page.get("/v1/jobs", headers=headers).status_code for headers in [{}, key] * 5]
    assert statuses == [200] * 8 + [429] * 2


def test_an_old_cookie_counts_once_as_a_wrong_key(page: TestClient) -> None:
    valid, old = page.cookies[LOOPBACK_COOKIE], "a" * 43
    page.cookies.clear()
    statuses = [page.get("/v1/jobs", headers={"Cookie": f"{LOOPBACK_COOKIE}={old}"}).status_code for _ in range(10)]
    assert set(statuses) == {401}
    guesses = [f"{number:043d}" for number in range(4)]
    statuses = [page.get("/v1/jobs", headers={"Cookie": f"{LOOPBACK_COOKIE}={each}"}).status_code for each in guesses]
    assert statuses == [401, 401, 429, 429]
    assert page.get("/v1/jobs", headers={"Cookie": f"{LOOPBACK_COOKIE}={valid}"}).status_code == 429, "not used before"


def test_a_session_continues_from_an_address_with_wrong_keys(page: TestClient) -> None:
    assert page.get("/v1/jobs").status_code == 200
    for number in range(5):
        page.post("/v1/session", json={"key": f"guess-{number}"})
    assert page.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("cookie", ["", "x", f"{LOOPBACK_COOKIE}=short", f"{LOOPBACK_COOKIE}=" + "é" * 43, "a=" * 9000])
def test_a_malformed_cookie_is_ignored(page: TestClient, cookie: str) -> None:
    page.cookies.clear()
    headers = [(b"Cookie", cookie.encode())]
    assert [page.get("/v1/jobs", headers=headers).status_code for _ in range(5)] == [401] * 5


def test_a_wrong_key_is_not_replaced_by_a_cookie(page: TestClient) -> None:
    assert page.get("/v1/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_an_unavailable_database_is_a_503(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("locked"))

    monkeypatch.setattr(BrowserSessions, "find", fail)
    response = page.get("/v1/jobs")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


class EndlessResponse:
    """An application that sends chunks until it is stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_stopped = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                self._clock.now += 15
        finally:
            self.is_stopped = True


async def test_a_stream_ends_with_its_session(state: State, clock: Clock) -> None:
    sessions = BrowserSessions(state.sessions, KEYS, idle_s=3600, lifetime_s=3600, clock=clock)
    opened = await sessions.open(KEYS[0])
    app = EndlessResponse(clock)
    middleware = BrowserSessionMiddleware(app, lambda _: sessions, WrongKeyLimit(3), clock)
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        messages.append(message)
        if len(messages) == 20:
            await sessions.close(opened.token)

    headers = [(b"host", b"localhost"), (b"cookie", f"{LOOPBACK_COOKIE}={opened.token}".encode())]
    await middleware({"type": "http", "method": "GET", "path": "/v1/events", "headers": headers}, receive, send)
    assert app.is_stopped
    assert 20 < len(messages) < 26
    assert messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_the_number_of_remembered_tokens_is_limited(state: State) -> None:
    middleware = BrowserSessionMiddleware(EndlessResponse(Clock()), lambda _: state.browser_sessions, WrongKeyLimit(3))
    for number in range(MAX_UNKNOWN + 10):
        middleware._remember_unknown(f"{number:043d}", {"client": ("10.0.0.1", 1)})
    assert len(middleware._unknown) == MAX_UNKNOWN
    assert f"{5:043d}" not in middleware._unknown
