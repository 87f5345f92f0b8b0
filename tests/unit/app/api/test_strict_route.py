"""Strict JSON, and strict query parameters."""

import json
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app import problems
from app.api.strict_route import MAX_DEPTH, StrictRoute, parse_json


class Params(BaseModel):
    size: int = 1


class Body(BaseModel):
    x: int


@pytest.fixture
def client() -> TestClient:
    """A client of an application with two strict routes."""
    router = APIRouter(route_class=StrictRoute)

    @router.get("/")
    def get_params(params: Annotated[Params, Query()], name: str = "") -> dict[str, Any]:
        return {"size": params.size}

    @router.post("/")
    def post_body(body: Body) -> int:
        return body.x

    app = FastAPI()
    problems.install_handlers(app)
    app.include_router(router)
    return TestClient(app)


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
