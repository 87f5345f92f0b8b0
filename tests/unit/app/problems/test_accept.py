"""The media type of a problem follows the header Accept."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from app.problems.accept import accepts_problem_json, parse_weight

MEDIA_TYPES = st.sampled_from(["application/json", "application/problem+json", "application/*", "*/*", "text/html"])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], True),
        ([""], True),
        (["*/*"], True),
        (["application/*"], True),
        (["application/json, text/plain, */*"], True),
        (["application/json", "application/problem+json"], True),
        (["text/html"], True),  # neither is accepted: an error may have any type
        (["application/json"], False),
        (["Application/JSON; charset=utf-8"], False),
        (["application/json, text/javascript;q=0.5"], False),
        (["text/csv", "application/json;q=0.1"], False),
        (["application/json, application/problem+json;q=0"], False),
        (["application/json, */*;q=0"], False),
        (["application/json;q=0"], True),
        (["application/problem+json;q=0, */*"], False),
        (["application/json;q=x, */*"], True),
    ],
)
def test_json_is_sent_if_only_that_is_accepted(accept: list[str], expected: bool) -> None:
    assert accepts_problem_json(accept) is expected


@given(st.lists(MEDIA_TYPES, max_size=4))
def test_without_weights_only_three_entries_allow_problem_json(accept: list[str]) -> None:
    allows = bool({"application/problem+json", "application/*", "*/*"} & set(accept))
    assert accepts_problem_json([", ".join(accept)]) is (allows or "application/json" not in accept)
    assert accepts_problem_json(accept) is accepts_problem_json([", ".join(accept)])


@pytest.mark.parametrize(
    ("parameters", "weight"),
    [([], 1.0), (["q=0.5"], 0.5), (["charset=utf-8", "q = 0"], 0.0), (["q=2"], 0.0), (["q=-1"], 0.0), (["q=nan"], 0.0)],
)
def test_a_weight_is_from_0_to_1(parameters: list[str], weight: float) -> None:
    assert parse_weight(parameters) == weight


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/v1/jobs/0123", {}),
        ("GET", "/v1/nothing", {}),
        ("POST", "/v1/jobs", {"json": []}),
        ("PUT", "/v1/jobs", {}),
        ("POST", "/v1/jobs", {"content": b"{}", "headers": {"Content-Encoding": "unknown"}}),
        ("PATCH", "/v1/uploads/0123", {}),
        ("GET", "/v1/jobs", {"headers": {"Host": "elsewhere.example"}}),
    ],
)
def test_problems_of_every_layer_follow_accept(
    client: TestClient, method: str, path: str, options: dict[str, Any]
) -> None:
    headers = options.pop("headers", {})
    problems = []
    for accept, media_type in (("application/json", "application/json"), ("*/*", "application/problem+json")):
        response = client.request(method, path, headers=headers | {"Accept": accept}, **options)
        assert response.status_code >= 400
        assert response.headers["Content-Type"] == media_type
        assert "Accept" in response.headers["Vary"]
        problems.append(json.loads(response.content))
    assert problems[0] == problems[1]
    options["headers"] = headers
