"""The body of a problem."""

import json

import pytest
from starlette.requests import Request

from app.problems.response import MAX_TEXT, build_problem, is_oip_path, truncate
from core.spec.error_pointers import MAX_ERRORS


def build_request(path: str) -> Request:
    return Request({"type": "http", "path": path, "headers": []})


def test_a_problem_has_all_fields() -> None:
    response = build_problem(
        build_request("/v1/jobs"), 409, "conflict", "Conflict", "No.", errors=[("/a", "is missing")], extra={"x": 1}
    )
    assert (response.status_code, response.media_type) == (409, "application/problem+json")
    assert json.loads(bytes(response.body)) == {
        "type": "/problems/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "No.",
        "instance": "/v1/jobs",
        "errors": [{"pointer": "/a", "detail": "is missing"}],
        "facts": {"x": 1},
    }


def test_long_texts_and_many_errors_are_truncated() -> None:
    errors = [("/a", "y" * 10_000)] * 1000
    response = build_problem(build_request("/v1/jobs"), 422, "invalid-request", "Invalid", "x" * 10_000, errors=errors)
    body = json.loads(bytes(response.body))
    assert (len(body["detail"]), len(body["errors"])) == (MAX_TEXT, MAX_ERRORS)
    assert body["errors"][0]["detail"].endswith("…")
    assert truncate("short") == "short"


def test_a_lone_surrogate_is_escaped() -> None:
    response = build_problem(build_request("/v1/jobs"), 422, "invalid-request", "Invalid", "\ud800")
    assert b"\\ud800" in bytes(response.body)


@pytest.mark.parametrize(
    ("path", "expected"), [("/v2", True), ("/v2/models/a", True), ("/v1/jobs", False), ("/v22", False)]
)
def test_v2_paths_get_errors_of_the_protocol(path: str, expected: bool) -> None:
    request = build_request(path)
    assert is_oip_path(request.scope) is expected
    body = json.loads(bytes(build_problem(request, 401, "unauthorized", "Unauthorized", "No key.").body))
    assert (body == {"error": "No key."}) is expected


def test_a_response_that_omits_errors_has_their_number() -> None:
    request = Request({"type": "http", "path": "/", "headers": []})
    for number, extra in ((MAX_ERRORS, {}), (MAX_ERRORS + 1, {"num_errors": MAX_ERRORS + 1})):
        errors = [(f"/{index}", "is unknown") for index in range(number)]
        body = json.loads(bytes(build_problem(request, 422, "x", "x", "x", errors=errors).body))
        assert (len(body["errors"]), body["facts"]) == (MAX_ERRORS, extra)
