"""The responses of errors, expected and unexpected."""

import sqlite3
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import DatabaseError, OperationalError
from structlog.testing import capture_logs

from app.main import create_app
from app.problems import get_status
from app.state import State
from core.errors import DatasetNotReady, NotReady, ServiceError


@pytest.fixture
def app(state: State) -> FastAPI:
    return create_app(state=state)


@pytest.fixture
def lenient_client(app: FastAPI) -> Iterator[TestClient]:
    """A client that returns the response of an unexpected error instead of raising the error."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, HEAD, POST, OPTIONS"),
        ("/v1/jobs/0123", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/v1/jobs/0123/cancel", "POST, OPTIONS"),
        ("/v1/models/a/aliases/b", "PUT, DELETE, OPTIONS"),
    ],
)
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND"])
def test_a_405_lists_all_methods_of_the_path(client: TestClient, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert response.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/jobs/", "/v1/jobs/1/nothing", "/v1/../etc/passwd", "/%2e%2e/x"]
)
def test_an_unknown_path_is_a_problem(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "/problems/not-found"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/jobs/", "This path does not exist; did you mean /v1/jobs?"),
        ("/v1/jobs/0123/logs/", "This path does not exist; did you mean /v1/jobs/0123/logs?"),
        ("/models", "This path does not exist; did you mean /v1/models?"),
        ("/catalog/", "This path does not exist; did you mean /v1/catalog?"),
        ("/v1/nowhere/", "This path does not exist."),
        ("/nowhere", "This path does not exist."),
        ("/v1", "This path does not exist."),
        ("//", "This path does not exist."),
    ],
)
def test_an_unknown_path_names_the_one_that_is_meant(client: TestClient, path: str, detail: str) -> None:
    assert client.get(f"http://testserver{path}").json()["detail"] == detail


def test_an_unexpected_error_shows_only_the_request_id(app: FastAPI, lenient_client: TestClient) -> None:
    @app.get("/bug")
    def raise_bug() -> None:
        raise RuntimeError("secret detail")

    response = lenient_client.get("/bug", headers={"X-Request-ID": "my-id"})
    assert response.status_code == 500
    assert response.json()["type"] == "/problems/internal"
    assert response.json()["facts"] == {"request_id": "my-id"}
    assert response.headers["X-Request-ID"] == "my-id"
    assert "secret" not in response.text


def test_an_unavailable_database_is_a_503(app: FastAPI, lenient_client: TestClient) -> None:
    @app.get("/unavailable")
    def raise_operational_error() -> None:
        raise OperationalError("SELECT secret", {}, Exception("connection refused"))

    response = lenient_client.get("/unavailable")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert response.json()["type"] == "/problems/unavailable"
    assert "secret" not in response.text


def test_temporary_errors_have_retry_after(app: FastAPI, lenient_client: TestClient) -> None:
    errors = {
        "soon": NotReady("Loading.", retry_after_s=2.4),
        "importing": DatasetNotReady("Importing.", state="importing"),
        "failed": DatasetNotReady("Failed.", state="failed"),
    }

    @app.get("/raise/{name}")
    def raise_error(name: str) -> None:
        raise errors[name]

    assert lenient_client.get("/raise/soon").headers["Retry-After"] == "3"
    assert lenient_client.get("/raise/importing").headers["Retry-After"] == "2"
    assert "Retry-After" not in lenient_client.get("/raise/failed").headers


def test_an_error_without_a_status_is_a_500() -> None:
    class Unknown(ServiceError):
        """An error class that no table has."""

    assert (get_status(Unknown), get_status(DatasetNotReady)) == (500, 409)


def test_a_damaged_database_is_a_problem_without_a_traceback_in_the_log(
    app: FastAPI, lenient_client: TestClient
) -> None:
    @app.get("/damaged")
    def raise_database_error() -> None:
        cause = sqlite3.DatabaseError("database disk image is malformed")
        cause.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise DatabaseError("SELECT secret", {}, cause)

    with capture_logs() as lines:
        response = lenient_client.get("/damaged")
    assert (response.status_code, response.json()["type"]) == (500, "/problems/corrupt")
    assert "secret" not in response.text
    assert not [line for line in lines if "exc_info" in line or line["event"] == "request.crashed"]
