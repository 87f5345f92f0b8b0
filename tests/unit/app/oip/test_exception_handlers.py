"""Errors of every kind, as the protocol's clients read them."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from app.oip import exception_handlers
from app.oip.errors import InvalidInferRequest, NotSupported
from core import errors


def answer_to(error: Exception, path: str = "/fails") -> tuple[int, dict[str, str], dict[str, str]]:
    app = FastAPI(openapi_url=None)
    exception_handlers.install_handlers(app)

    @app.get("/fails")
    def fail() -> None:
        raise error

    with TestClient(app, raise_server_exceptions=False) as client:
        found = client.get(path)
    return found.status_code, dict(found.headers), found.json()


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
def test_an_error_is_a_status_and_one_sentence(error: Exception, status: int) -> None:
    found, headers, body = answer_to(error)
    assert (found, body) == (status, {"error": "why"})
    assert headers["content-type"] == "application/json"
    assert ("retry-after" in headers) == (status == 503)


def test_an_error_that_knows_how_long_to_wait_says_so() -> None:
    assert answer_to(errors.Overloaded("why", retry_after_s=7))[1]["retry-after"] == "7"


def test_a_database_that_is_away_is_not_a_bug() -> None:
    status, headers, body = answer_to(OperationalError("SELECT 1", {}, Exception("away")))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "SELECT" not in body["error"]


def test_a_bug_tells_nothing_of_itself() -> None:
    status, _, body = answer_to(RuntimeError("secret"))
    assert status == 500
    assert "secret" not in body["error"]


def test_an_unknown_path_has_the_same_form() -> None:
    assert answer_to(RuntimeError(), "/nowhere")[::2] == (
        404,
        {"error": "There is nothing at this path of the Open Inference Protocol."},
    )


def test_a_sentence_is_cut_and_may_hold_half_a_surrogate() -> None:
    _, _, body = answer_to(InvalidInferRequest("\ud800" + "x" * 5000))
    assert len(body["error"]) == exception_handlers.MAX_MESSAGE_LENGTH
