"""What every request meets: keys, host, id, methods, errors; and how the service starts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.http.middleware import is_public_path, trace_of
from app.main import create_app
from app.state import State
from core.errors import ConfigurationError, DatasetNotReady, NotReady
from core.settings import Settings
from tests.support.http_service import SMALL, service_state

KEYS: Any = ("first-key", "second-key")


@pytest.fixture
def locked(tmp_path: Path, sqlite_template: Path) -> Iterator[TestClient]:
    """The service with keys."""
    with (
        service_state(tmp_path, sqlite_template, api_keys=KEYS) as state,
        TestClient(create_app(state=state)) as client,
    ):
        yield client


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_a_door_to_the_network_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_API_KEYS") as refusal:
        create_app(Settings(host=host))
    assert "\n" not in str(refusal.value)
    create_app(Settings(host=host, api_keys=KEYS))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    create_app(Settings(host=host))


def test_every_path_but_the_open_ones_needs_a_key(locked: TestClient) -> None:
    document = locked.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method in item:
            answer = locked.request(method.upper(), re.sub(r"\{\w+\}", "1", path))
            if is_public_path(path):
                assert answer.status_code != 401, path
            else:
                assert answer.status_code == 401, path
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.json()["type"] == "/problems/unauthorized"
    assert locked.get("/nowhere").status_code == 401


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(locked: TestClient, key: str) -> None:
    assert locked.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-key-", "Basic first-key", "first-key", "Bearer ä"],
)
def test_all_else_stays_out_before_its_body_is_read(locked: TestClient, given: str) -> None:
    answer = locked.post("/v1/jobs", content=b"x" * 5_000_000, headers=[(b"Authorization", given.encode("latin-1"))])
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, POST"),
        ("/v1/jobs/0123", "GET, PATCH, DELETE"),
        ("/v1/jobs/0123/cancel", "POST"),
        ("/v1/models/a/aliases/b", "PUT"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_another_method_is_told_all_that_the_path_knows(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/jobs/", "/v1/jobs/1/nothing", "/v1/../etc/passwd", "/%2e%2e/x"]
)
def test_an_unknown_path_is_a_problem(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/not-found"


def test_a_request_without_a_host_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/jobs", headers={"Host": ""})
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/malformed-request"


def test_a_request_keeps_its_id_or_gets_one(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    strange = client.get("/health/live", headers={"X-Request-ID": "a b\tc" * 50}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", strange)


def test_a_request_may_belong_to_a_trace() -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    assert trace_of(f"00-{trace}-{span}-01") == {"trace_id": trace, "parent_span_id": span}
    for wrong in ("", "00", f"ff-{trace}-{span}-01", f"00-{'0' * 32}-{span}-01", f"00-{trace}-{span}", "x" * 10_000):
        assert trace_of(wrong) == {}


def test_a_request_is_counted_by_its_route_and_not_its_path(client: TestClient) -> None:
    client.get("/v1/jobs/0123456789abcdef")
    text = client.get("/metrics").text
    assert 'candela_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}' in text
    assert "0123456789abcdef" not in text


@pytest.fixture
def broken(state: State) -> Iterator[tuple[FastAPI, TestClient]]:
    app = create_app(state=state)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield app, client


def test_a_bug_is_told_by_its_request_id_alone(broken: tuple[FastAPI, TestClient]) -> None:
    app, client = broken

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("secret detail")

    answer = client.get("/bug", headers={"X-Request-ID": "my-id"})
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal"
    assert answer.json()["facts"] == {"request_id": "my-id"}
    assert answer.headers["X-Request-ID"] == "my-id"
    assert "secret" not in answer.text


def test_a_database_that_is_away_is_a_503(broken: tuple[FastAPI, TestClient]) -> None:
    app, client = broken

    @app.get("/away")
    def away() -> None:
        raise OperationalError("SELECT secret", {}, Exception("connection refused"))

    answer = client.get("/away")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert answer.json()["type"] == "/problems/unavailable"
    assert "secret" not in answer.text


def test_errors_say_when_to_try_again_where_that_helps(broken: tuple[FastAPI, TestClient]) -> None:
    app, client = broken
    raised = {
        "soon": NotReady("Loading.", retry_after_s=2.4),
        "importing": DatasetNotReady("Importing.", state="importing"),
        "failed": DatasetNotReady("Failed.", state="failed"),
    }

    @app.get("/raise/{name}")
    def raise_(name: str) -> None:
        raise raised[name]

    assert client.get("/raise/soon").headers["Retry-After"] == "3"
    assert client.get("/raise/importing").headers["Retry-After"] == "2"
    assert "Retry-After" not in client.get("/raise/failed").headers


def test_a_locked_sqlite_file_is_a_503(state: State, client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "service.db").unlink()
    (tmp_path / "service.db").mkdir()
    state.sessions.kw["bind"].dispose()
    answer = client.post("/v1/jobs", json=SMALL)
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/unavailable"


def test_a_commit_that_fails_is_no_success(state: State, broken: tuple[FastAPI, TestClient]) -> None:
    def refuse(session: Session) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    _, client = broken
    assert client.post("/v1/jobs", json=SMALL).status_code == 202  # the dataset's version is there from now on
    listening = state.sessions.class_
    event.listen(listening, "before_commit", refuse)
    try:
        answer = client.post("/v1/jobs", json=SMALL)
    finally:
        event.remove(listening, "before_commit", refuse)
    assert answer.status_code == 503
    assert len(client.get("/v1/jobs").json()["items"]) == 1
