"""Fast routes: which requests they match, and that their responses equal those of the documented routes."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.fast_path import PREDICT, parse_simple_query
from app.http.fast_path import FastPathMiddleware
from app.oip.fast_path import INFER, INFER_VERSION
from app.state import State
from tests.support import bundles
from tests.support.images import random_png

PNG = {"Content-Type": "image/png"}
IMAGE = random_png(height=8, width=8, channels=1)
ESCAPED = "?top_k=%35"
"""The default number of classes, written so that the router handles the request."""
RAW = {"Inference-Header-Content-Length": "0"}


@pytest.fixture(autouse=True)
def shapes(state: State) -> None:
    """Register the model `shapes`."""
    bundles.register_model(state.sessions, state.storage, "shapes", 1)


async def nowhere(*_: Any) -> None:
    """An application that must not be called."""


@pytest.mark.parametrize(
    ("method", "path", "query", "found"),
    [
        ("POST", "/v1/models/shapes/predict", b"", PREDICT),
        ("POST", "/v1/models/shapes@champion/predict", b"", PREDICT),
        ("POST", "/v1/models/shapes/predict", b"top_k=3", PREDICT),
        ("POST", "/v1/models/shapes/predict", b"top_k=0", None),
        ("POST", "/v2/models/shapes/infer", b"top_k=3", None),
        ("GET", "/v1/models/shapes/predict", b"", None),
        ("POST", "/v1/models/Shapes/predict", b"", None),
        ("POST", "/v1/models/shapes/predict/", b"", None),
        ("POST", "/v1/jobs/1/predict", b"", None),
        ("POST", "/v2/models/shapes/infer", b"", INFER),
        ("POST", "/v2/models/shapes/versions/1/infer", b"", INFER_VERSION),
        ("POST", "/v2/models/shapes/versions//infer", b"", None),
        ("POST", "/v2/repository/models/shapes/load", b"", None),
    ],
)
def test_only_plain_requests_match_a_fast_route(method: str, path: str, query: bytes, found: object) -> None:
    scope = {"type": "http", "method": method, "path": f"/base{path}", "query_string": query, "root_path": "/base"}
    assert FastPathMiddleware(nowhere, (PREDICT, INFER, INFER_VERSION)).match_route(scope) is found


@pytest.mark.parametrize(
    ("query", "parsed"),
    [
        (b"", {}),
        (b"top_k=3", {"top_k": 3}),
        (b"top_k=007", {"top_k": 7}),
        (b"top_k=10000&variant=torch-compile&test_time_augmentation=mirror_and_shift",
         {"top_k": 10000, "variant": "torch-compile", "test_time_augmentation": "mirror_and_shift"}),
        (b"variant=none", {"variant": "none"}),
    ],
)  # fmt: skip
def test_simple_queries_are_parsed(query: bytes, parsed: dict[str, object]) -> None:
    assert parse_simple_query(query) == parsed


@pytest.mark.parametrize(
    "query",
    [
        b"top_k=0", b"top_k=10001", b"top_k=-1", b"top_k=+1", b"top_k= 1", b"top_k=1.0", b"top_k=", b"top_k",
        b"top_k=%35", b"top_k=\xb2", b"top_k=\xd9\xa3", b"top_k=1&top_k=2", b"top_k=1&", b"&", b"=1", b"variant=",
        b"variant=ONNX", b"variant=auto", b"test_time_augmentation=flip", b"a=1", b"top_k=1;variant=none",
        b"top_k=" + b"0" * 60_000 + b"1", b"&" * 60_000,
    ],
)  # fmt: skip
def test_other_queries_are_left_to_the_router(query: bytes) -> None:
    assert parse_simple_query(query) is None


@pytest.mark.parametrize(
    "query", ["?top_k=2", "?top_k=1&variant=none", "?test_time_augmentation=mirror", "?variant=onnx"]
)
def test_the_parameters_have_the_same_effect_on_both_routes(client: TestClient, query: str) -> None:
    name, _, value = query.rpartition("=")
    escaped = f"{name}=%{ord(value[0]):02x}{value[1:]}"
    short, long = (
        client.post(f"/v1/models/shapes/predict{each}", content=IMAGE, headers=PNG) for each in (query, escaped)
    )
    assert short.status_code == long.status_code
    assert short.json() == long.json()
    plain = client.post("/v1/models/shapes/predict", content=IMAGE, headers=PNG)
    assert short.json() != plain.json()


@pytest.mark.parametrize("query", ["top_k=0", "top_k=1&top_k=x", "variant=tensorrt", "a=1"])
def test_errors_of_the_query_are_those_of_the_router(client: TestClient, query: str) -> None:
    response = client.post(f"/v1/models/shapes/predict?{query}", content=IMAGE, headers=PNG)
    assert response.status_code == 422
    assert query.split("=")[0] in response.text


def test_the_response_equals_that_of_the_documented_route(client: TestClient) -> None:
    short, long = (
        client.post(f"/v1/models/shapes/predict{query}", content=IMAGE, headers=PNG) for query in ("", ESCAPED)
    )
    assert short.status_code == long.status_code == 200
    assert short.json() == long.json()
    assert dict(short.headers).keys() == dict(long.headers).keys()


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_the_v2_response_equals_that_of_its_route(client: TestClient, version: str) -> None:
    short, long = (
        client.post(f"/v2/models/shapes{version}/infer{query}", content=IMAGE, headers=RAW) for query in ("", "?a=1")
    )
    assert short.status_code == long.status_code == 200
    assert short.content == long.content


def test_metrics_use_the_documented_route(client: TestClient) -> None:
    client.post("/v1/models/shapes/predict", content=IMAGE, headers=PNG)
    client.post("/v2/models/shapes/versions/1/infer", content=IMAGE, headers=RAW)
    body = client.get("/metrics").text
    assert 'route="/v1/models/{ref}/predict",status="200"' in body
    assert 'route="/v2/models/{model}/versions/{version}/infer",status="200"' in body


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/models/none/predict", b"", 404),
        ("/v1/models/shapes/predict", b"no picture", 422),
        ("/v2/models/none/infer", IMAGE, 404),
        ("/v2/models/shapes/infer", b"no picture", 400),
    ],
)
def test_a_problem_equals_that_of_the_documented_route(
    client: TestClient, path: str, content: bytes, status: int
) -> None:
    responses = [client.post(f"{path}{query}", content=content, headers=PNG | RAW) for query in ("", ESCAPED)]
    assert [response.status_code for response in responses] == [status, status]
    assert responses[0].json() == responses[1].json()
    assert responses[0].headers["Content-Type"] == responses[1].headers["Content-Type"]


def test_a_body_that_is_not_a_form_is_a_problem(client: TestClient) -> None:
    response = client.post(
        "/v1/models/shapes/predict", content=b"--x", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert response.status_code in (400, 422)
    assert response.headers["Content-Type"] == "application/problem+json"
