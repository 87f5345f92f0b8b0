"""Strict JSON, and strict query parameters."""

import json
import subprocess
import sys
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app import problems
from app.api import strict_route
from app.api.strict_route import MAX_DEPTH, StrictRoute, parse_json
from core.spec import AnyJobSpec
from tests.support import hostile_json


class Params(BaseModel):
    size: int = 1


class Document(BaseModel):
    x: int


def build_client() -> TestClient:
    """Return a client of an application with strict routes."""
    router = APIRouter(route_class=StrictRoute)

    @router.get("/")
    def get_params(params: Annotated[Params, Query()], name: str = "") -> dict[str, Any]:
        return {"size": params.size}

    @router.post("/")
    def post_body(body: Document) -> int:
        return body.x

    @router.post("/jobs")
    def post_job(spec: Annotated[AnyJobSpec, Body()]) -> str:
        return spec.kind

    app = FastAPI()
    problems.install_handlers(app)
    app.include_router(router)
    return TestClient(app)


@pytest.fixture
def client() -> TestClient:
    return build_client()


@pytest.mark.parametrize("body", [b'{"a": [1, "b", null, true, 1.5]}', b"3", b'"\xc3\xa4"'])
def test_valid_json_is_parsed(body: bytes) -> None:
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"\xff", 400, "not UTF-8"),
        (b"{", 400, "not valid JSON"),
        (b'{"a": 1, "a": 2}', 422, "duplicate key 'a'"),
        (b"[NaN]", 422, "must be a finite number"),
        (b"9223372036854775808", 422, "at most 64 bits"),
        (b"1" * 5000, 422, "more than 4300 digits"),
        (b'"\\ud800"', 422, "lone surrogate"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), 422, "nested levels"),
        (b"[" * 100_000, 422, "nested levels"),
    ],
)
def test_invalid_json_is_rejected(body: bytes, status: int, reason: str) -> None:
    with pytest.raises(HTTPException) as error:
        parse_json(body)
    assert error.value.status_code == status
    assert reason in error.value.detail


def test_an_unknown_parameter_is_rejected_and_the_fields_of_a_model_are_known(client: TestClient) -> None:
    assert client.get("/?size=3").status_code == 200
    response = client.get("/?sise=3")
    assert response.status_code == 422
    assert "did you mean 'size'?" in response.json()["detail"]


def test_a_body_of_another_media_type_is_rejected(client: TestClient) -> None:
    assert client.post("/", content=b'{"x": 1}', headers={"Content-Type": "application/problem+json"}).json() == 1
    assert client.post("/", content=b'{"x": 1}', headers={"Content-Type": "text/plain"}).status_code == 415


def post_job(client: TestClient, body: bytes) -> Any:
    return client.post("/jobs", content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("kind", sorted(set(hostile_json.JOBS) - {"many callbacks", "many patterns"}))
def test_a_large_invalid_job_has_a_short_response(kind: str, client: TestClient) -> None:
    response = post_job(client, hostile_json.JOBS[kind](20_000))
    problem = response.json()
    assert response.status_code in (413, 422), response.text
    assert len(response.content) < 100_000
    assert len(problem["errors"]) <= 100
    assert len(problem["detail"]) <= 500


@pytest.mark.parametrize("kind", ["unknown keys", "unknown keys of an optimizer", "unknown metrics", "null weights"])
@pytest.mark.parametrize("count", [200, 90_000])
def test_the_first_100_errors_are_explained_and_the_others_counted(kind: str, count: int, client: TestClient) -> None:
    problem = post_job(client, hostile_json.JOBS[kind](count)).json()
    assert len(problem["errors"]) == 100
    assert problem["facts"]["num_errors"] >= count
    assert f"(and {problem['facts']['num_errors'] - 1} more)" in problem["detail"]
    assert all(error["pointer"] and error["detail"] for error in problem["errors"])


def test_a_document_with_too_many_values_is_not_parsed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_route, "parse_json", pytest.fail)
    response = post_job(client, hostile_json.JOBS["unknown keys"](130_000))
    assert response.status_code == 413
    assert response.json()["facts"]["max_values"] == 250_000


def test_a_large_valid_job_is_accepted(client: TestClient) -> None:
    body = hostile_json.build_spec(loss={"name": "nll", "class_weights": [0.125] * 30_000})
    assert post_job(client, body).json() == "train"


def test_an_incomplete_large_body_is_malformed(client: TestClient) -> None:
    assert post_job(client, hostile_json.build_spec(name="n" * 100_000)[:-1]).status_code == 400


CPU_SCRIPT = """
import resource, sys, time
from fastapi.testclient import TestClient
from tests.unit.app.api.test_strict_route import post_job, build_client
from tests.support import hostile_json
client = build_client()
post_job(client, hostile_json.build_spec())
limit = int(time.process_time()) + 9
resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
for name, build in hostile_json.JOBS.items():
    response = post_job(client, build(90_000))
    print(name, response.status_code, round(time.process_time(), 1))
"""


def test_large_invalid_jobs_need_half_a_second_of_cpu_time_each() -> None:
    run = subprocess.run([sys.executable, "-c", CPU_SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
