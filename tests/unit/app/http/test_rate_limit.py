"""Rate limits of keys, addresses and wrong keys, with a clock that the test controls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app.http import rate_limit as limits
from app.http.middleware import ApiKeyMiddleware
from app.http.rate_limit import MAX_BUCKETS, RateLimitMiddleware, TokenBuckets, WrongKeyLimit
from app.main import create_app
from core.settings import Settings
from tests.support.fakes import Clock
from tests.support.http_service import service_state

KEYS = ("first-key", "second-key")


def build_app(clock: Clock, keys: tuple[str, ...] = KEYS, **changes: Any) -> ASGIApp:
    """Return an application behind the rate limit and the API keys, in the order of `create_app`."""
    options: dict[str, Any] = {"per_s": 2.0, "burst": 3, "wrong_keys": WrongKeyLimit(2, clock)} | changes
    door = ApiKeyMiddleware(PlainTextResponse("well"), keys)
    return RateLimitMiddleware(door, keys, clock=clock, **options)


def build_sender(app: ASGIApp, address: str = "10.0.0.1") -> Callable[..., Any]:
    """Return a function that sends requests with a key from an address."""
    client = TestClient(app, client=(address, 1))

    def send(key: str | None = KEYS[0], path: str = "/v1/jobs") -> Any:
        return client.get(path, headers={} if key is None else {"Authorization": f"Bearer {key}"})

    return send


# -- buckets ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.floats(0.1, 20),
    st.integers(1, 10),
)
def test_a_name_never_exceeds_its_burst_and_rate(pauses: list[float], per_s: float, burst: int) -> None:
    clock = Clock()
    bucket = TokenBuckets[str](per_s, burst, clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        if not bucket.take("key"):
            taken.append(clock.now)
    for first, since in enumerate(taken):
        for last, until in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + per_s * (until - since) + 1e-3


@given(st.floats(0.1, 20), st.integers(1, 10))
def test_a_token_is_available_after_the_returned_wait(per_s: float, burst: int) -> None:
    clock = Clock()
    bucket = TokenBuckets[str](per_s, burst, clock)
    assert [bucket.take("key") for _ in range(burst)] == [0.0] * burst
    wait_s = bucket.take("key")
    assert wait_s == pytest.approx(1 / per_s)
    assert bucket.get_wait_s("key") == wait_s
    clock.now += wait_s * 0.9
    assert bucket.take("key") > 0
    clock.now += wait_s * 0.11
    assert bucket.take("key") == 0.0


def test_the_number_of_buckets_is_bounded(clock: Clock) -> None:
    bucket = TokenBuckets[int](0.001, 1, clock)
    for name in range(3 * MAX_BUCKETS):
        assert bucket.take(name) == 0.0
    assert len(bucket._full_at) <= MAX_BUCKETS
    assert bucket.take(3 * MAX_BUCKETS - 1) > 0, "the last ones are remembered"


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_key_over_its_limit_gets_429_and_others_do_not(clock: Clock) -> None:
    send = build_sender(build_app(clock))
    assert [send().status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    problem = send()
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.headers["retry-after"] == "1"
    assert problem.json() | {"detail": ""} == {
        "type": "/problems/too-many-requests",
        "title": "Too many requests",
        "status": 429,
        "detail": "",
        "instance": "/v1/jobs",
        "errors": [],
        "facts": {"retry_after_s": 1},
    }
    assert KEYS[0] not in problem.text
    assert send(KEYS[1]).status_code == 200
    clock.now += 1
    assert [send().status_code for _ in range(3)] == [200, 200, 429]


def test_a_key_has_one_limit_for_all_addresses(clock: Clock) -> None:
    app = build_app(clock)
    here, there = build_sender(app), build_sender(app, "10.0.0.2")
    assert [here().status_code, there().status_code, here(f" {KEYS[0]} ").status_code] == [200] * 3
    assert there().status_code == 429


def test_v2_gets_the_error_form_of_the_protocol(clock: Clock) -> None:
    send = build_sender(build_app(clock, burst=1))
    send()
    problem = send(path="/v2/models/cats")
    assert problem.status_code == 429
    assert set(problem.json()) == {"error"}
    assert problem.headers["retry-after"] == "1"


def test_health_is_never_limited(clock: Clock) -> None:
    send = build_sender(build_app(clock))
    assert {send(path="/health/live").status_code for _ in range(50)} == {200}


def test_without_keys_the_limit_is_per_address(clock: Clock) -> None:
    app = build_app(clock, keys=())
    here, there = build_sender(app), build_sender(app, "10.0.0.2")
    assert [here(None).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert here("whatever").status_code == 429
    assert there(None).status_code == 200


def test_without_a_limit_all_requests_are_accepted(clock: Clock) -> None:
    send = build_sender(build_app(clock, per_s=0.0))
    assert {send().status_code for _ in range(100)} == {200}


# -- wrong keys ------------------------------------------------------------------------------------------------------


def test_an_address_with_many_wrong_keys_gets_429(clock: Clock) -> None:
    app = build_app(clock)
    send = build_sender(app)
    assert [send(f"guess {number}").status_code for number in range(4)] == [401, 401, 429, 429]
    assert send(KEYS[0]).status_code == 429, "a valid key gets 429 too"
    assert build_sender(app, "10.0.0.2")("guess").status_code == 401
    clock.now += 30
    assert send(KEYS[0]).status_code == 200
    assert send("guess").status_code == 401


def test_a_proven_key_still_works_from_an_address_with_wrong_keys(clock: Clock) -> None:
    send = build_sender(build_app(clock))
    assert send().status_code == 200
    assert [send("guess").status_code for _ in range(3)] == [401, 401, 429]
    assert send().status_code == 200
    assert send(KEYS[1]).status_code == 429


def test_a_missing_key_does_not_count_as_wrong(clock: Clock) -> None:
    send = build_sender(build_app(clock))
    assert {send(None).status_code for _ in range(20)} == {401}
    assert send().status_code == 200


# -- as configured ---------------------------------------------------------------------------------------------------


def layers(**settings: Any) -> list[Any]:
    app = FastAPI()
    limits.add_rate_limit(app, Settings(**settings), WrongKeyLimit(60))
    return [layer.cls for layer in app.user_middleware]


def test_without_limits_the_middleware_is_not_added() -> None:
    assert layers() == []
    assert layers(api_keys=KEYS) == [RateLimitMiddleware]
    assert layers(max_requests_per_s=5) == [RateLimitMiddleware]


def test_the_service_applies_the_limits_of_its_settings(tmp_path: Path, sqlite_template: Path) -> None:
    settings: dict[str, Any] = {"api_keys": KEYS, "max_requests_per_s": 0.01, "max_burst_requests": 2}
    with (
        service_state(tmp_path, sqlite_template, **settings) as state,
        TestClient(create_app(state=state)) as client,
    ):
        first, second = ({"Authorization": f"Bearer {key}"} for key in KEYS)
        assert [client.get("/v1/jobs", headers=first).status_code for _ in range(3)] == [200, 200, 429]
        problem = client.get("/v1/jobs", headers=first)
        assert problem.headers["x-request-id"], "it is logged and counted as every request"
        assert 90 <= int(problem.headers["retry-after"]) <= 100
        assert client.get("/v1/jobs", headers=second).status_code == 200
        assert 'status="429"' in client.get("/metrics", headers=second).text
