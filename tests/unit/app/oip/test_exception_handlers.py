"""Errors of every class as responses of the protocol."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from app.oip import exception_handlers
from app.oip.errors import InvalidInferRequest, NotSupported
from core import errors


def respond_to(error: Exception, path: str = "/fails") -> tuple[int, dict[str, str], dict[str, str]]:
    app = FastAPI(openapi_url=None)
    exception_handlers.install_handlers(app)

    @app.get("/fails")
    def fail() -> None:
        raise error

    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get(path)
    return response.status_code, dict(response.headers), response.json()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInferRequest("why"), 400),
        (errors.InvalidSpec("why"), 400),
        (errors.InvalidImage("why"), 400),
        (errors.UnsupportedImage("why"), 400),
        (errors.Conflict("why"), 400),
        (errors.Unauthorized("why"), 401),
        (errors.NotFound("why"), 404),
        (errors.TooLarge("why"), 413),
        (errors.CorruptFile("why"), 500),
        (errors.PredictionFailed("why"), 500),
        (NotSupported("why"), 501),
        (errors.NotReady("why"), 503),
        (errors.Overloaded("why"), 503),
        (errors.Unavailable("why"), 503),
        (HTTPException(413, "why"), 413),
    ],
)
def test_error_is_a_status_and_a_message(error: Exception, status: int) -> None:
    response, headers, body = respond_to(error)
    assert (response, body) == (status, {"error": "why"})
    assert headers["content-type"] == "application/json"
    assert ("retry-after" in headers) == (status == 503)


def test_retry_after_is_that_of_the_error() -> None:
    assert respond_to(errors.Overloaded("why", retry_after_s=7))[1]["retry-after"] == "7"


def test_database_failure_is_unavailable() -> None:
    status, headers, body = respond_to(OperationalError("SELECT 1", {}, Exception("away")))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "SELECT" not in body["error"]


def test_unexpected_exception_is_not_exposed() -> None:
    status, _, body = respond_to(RuntimeError("secret"))
    assert status == 500
    assert "secret" not in body["error"]


def test_unknown_path_has_the_error_format() -> None:
    assert respond_to(RuntimeError(), "/nowhere")[::2] == (
        404,
        {"error": "This path does not exist in the Open Inference Protocol."},
    )


def test_message_is_truncated_and_may_contain_a_lone_surrogate() -> None:
    _, _, body = respond_to(InvalidInferRequest("\ud800" + "x" * 5000))
    assert len(body["error"]) == exception_handlers.MAX_MESSAGE_LENGTH
