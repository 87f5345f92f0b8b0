"""Retries of repeatable requests, and problems as exceptions."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from candela import CandelaError, Client, ProblemError, Unreachable
from candela.errors import Conflict, InvalidRequest, NotFound, Unauthorized, Unavailable

JobAnswer = Callable[..., dict[str, Any]]


def test_submission_is_retried_with_one_idempotency_key(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.problem("POST /v1/jobs", 503, "overloaded", headers={"Retry-After": "0"})
    server.problem("POST /v1/jobs", 429, "too-many-requests", headers={"Retry-After": "0"})
    server.json("POST /v1/jobs", job_answer(), 202)
    job = client.jobs.submit({"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}})
    assert job.id == "j1"
    keys = [seen.headers["idempotency-key"] for seen in server.seen]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_every_submission_has_its_own_key(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("POST /v1/jobs", job_answer(), 202)
    client.jobs.submit({})
    client.jobs.submit({})
    client.jobs.submit({}, idempotency_key="mine")
    first, second, third = [seen.headers["idempotency-key"] for seen in server.seen]
    assert first != second
    assert third == "mine"


def test_non_repeatable_request_is_sent_once(server: Any, client: Client, job_answer: JobAnswer) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.problem("POST /v1/jobs/j1/pause", 503, "overloaded", headers={"Retry-After": "0"})
    job = client.jobs.get("j1")
    with pytest.raises(Unavailable) as caught:
        job.pause()
    assert caught.value.retry_after_s == 0.0
    assert [seen.path for seen in server.seen].count("/v1/jobs/j1/pause") == 1


def test_retries_stop_after_max_attempts(server: Any) -> None:
    server.problem("GET /v1/system", 503, "overloaded", headers={"Retry-After": "0"})
    with Client(server.url, max_attempts=3) as client, pytest.raises(Unavailable):
        client.system()
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (403, Unauthorized), (404, NotFound), (409, Conflict), (500, ProblemError)],
)
def test_problem_raises_the_exception_of_its_status(
    server: Any, client: Client, status: int, kind: type[ProblemError]
) -> None:
    server.problem("GET /v1/jobs/j1", status, "some-slug", facts={"allowed": ["queued"]})
    with pytest.raises(kind) as caught:
        client.jobs.get("j1")
    error = caught.value
    assert (error.status, error.slug, error.extra) == (status, "some-slug", {"allowed": ["queued"]})
    assert str(error) == f"It is some-slug. ({status} some-slug)"


def test_invalid_fields_are_named_in_the_message(server: Any, client: Client) -> None:
    errors = [{"pointer": "/optimizer/lr", "detail": "must be above 0"}]
    server.problem("POST /v1/jobs", 422, "invalid-request", errors=errors)
    with pytest.raises(InvalidRequest, match="/optimizer/lr: must be above 0") as caught:
        client.jobs.submit({})
    assert caught.value.errors == [("/optimizer/lr", "must be above 0")]


def test_error_page_of_a_proxy_raises_problem_error(server: Any, client: Client) -> None:
    server.text("GET /v1/system", "<h1>Bad Gateway</h1>", 502)
    with pytest.raises(ProblemError, match="Bad Gateway") as caught:
        client.system()
    assert caught.value.status == 502


def test_unreachable_server_raises_with_its_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Client(url, max_attempts=2) as client, pytest.raises(Unreachable, match=f"cannot connect to {url}"):
        client.system()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://somewhere", "http://host:door"])
def test_invalid_url_raises(url: str) -> None:
    with pytest.raises(CandelaError, match="not a valid server URL"):
        Client(url).system()


def test_url_and_key_default_to_the_environment(
    server: Any, monkeypatch: pytest.MonkeyPatch, job_answer: JobAnswer
) -> None:
    monkeypatch.setenv("CANDELA_URL", server.url + "/")
    monkeypatch.setenv("CANDELA_API_KEY", "secret")
    server.json("GET /v1/jobs/j1", job_answer())
    with Client() as client:
        client.jobs.get("j1")
    assert server.seen[0].headers["authorization"] == "Bearer secret"
