"""Bodies of prediction requests: what is too much for the model is rejected before it is parsed."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api import predict_request
from app.state import State
from tests.support import hostile_json
from tests.support.bundles import register_model

JSON = {"Content-Type": "application/json"}
PREDICT, EMBED = "/v1/models/shapes/predict", "/v1/models/shapes/embed"


@pytest.fixture(autouse=True)
def shapes(state: State) -> None:
    """Register the model `shapes`, which reads images of 8 x 8."""
    register_model(state.sessions, state.storage, "shapes", 1)


@pytest.fixture
def parsed_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the bodies that are parsed."""
    sizes, parse = list[int](), predict_request._parse_instances

    def record(body: bytes) -> Any:
        sizes.append(len(body))
        return parse(body)

    monkeypatch.setattr(predict_request, "_parse_instances", record)
    return sizes


@pytest.mark.parametrize("path", [PREDICT, EMBED, "/v1/models/shapes/explain"])
@pytest.mark.parametrize("kind", hostile_json.VALUES)
def test_more_values_than_the_model_can_use_are_not_parsed(
    path: str, kind: str, client: TestClient, parsed_sizes: list[int]
) -> None:
    body = hostile_json.build_instances(hostile_json.VALUES[kind](500_000))
    response = client.post(path, content=body, headers=JSON)
    assert response.status_code == 413, response.text
    assert response.json()["facts"]["num_values"] > response.json()["facts"]["max_values"]
    assert "base64" in response.json()["detail"]
    assert parsed_sizes == []


def test_the_limit_depends_on_the_model(client: TestClient, state: State, parsed_sizes: list[int]) -> None:
    register_model(state.sessions, state.storage, "large", 1, image_shape=(1, 224, 224))
    limits = []
    for model in ("shapes", "large"):
        body = hostile_json.build_instances(hostile_json.repeat(b"1", 3_000_000))
        response = client.post(f"/v1/models/{model}/predict", content=body, headers=JSON)
        limits.append(response.json()["facts"]["max_values"])
    assert limits[0] < 200_000 < limits[1] <= 2_000_000
    assert parsed_sizes == []


def test_an_unknown_model_is_reported_before_a_large_body_is_parsed(
    client: TestClient, parsed_sizes: list[int]
) -> None:
    body = hostile_json.build_instances(hostile_json.repeat(b"1", 500_000))
    assert client.post("/v1/models/unknown/predict", content=body, headers=JSON).status_code == 404
    assert parsed_sizes == []


def test_a_large_body_within_the_limit_is_predicted(client: TestClient, parsed_sizes: list[int]) -> None:
    body = hostile_json.build_instances(hostile_json.repeat(hostile_json.repeat(b"1", 8), 8)) + b" " * 300_000
    response = client.post(PREDICT, content=body, headers=JSON)
    assert response.status_code == 200, response.text
    assert len(parsed_sizes) == 1


def test_commas_in_a_string_do_not_count(client: TestClient) -> None:
    body = b'{"instances":[{"image":"' + b"," * 2_000_000 + b'"}]}'
    response = client.post(PREDICT, content=body, headers=JSON)
    assert response.status_code == 422
    assert "not valid base64" in response.json()["detail"]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"instances": [{"values": []}, hostile_json.build_object(9)]}, "/instances/1"),
        ({"instances": [{"values": []}]} | hostile_json.build_object(5000), ""),
    ],
)
def test_an_object_with_too_many_fields_has_one_error(
    document: dict[str, Any], pointer: str, client: TestClient
) -> None:
    response = client.post(PREDICT, json=document)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_many_invalid_instances_have_at_most_100_errors(client: TestClient) -> None:
    response = client.post(PREDICT, json={"instances": [{"values": [1], "a": 1, "b": 1}] * 60})
    body = response.json()
    assert (response.status_code, len(body["errors"])) == (422, 100)
    assert body["facts"]["num_errors"] >= 120
    assert f"(and {body['facts']['num_errors'] - 1} more)" in body["detail"]


def test_the_parts_of_a_form_are_counted_before_they_are_parsed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_request, "parse_simple_multipart", pytest.fail)
    part = b'--x\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
    body = part * 11_000 + b"--x--\r\n"
    response = client.post(PREDICT, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code == 413
    assert "at most 10000 files" in response.json()["detail"]


def test_a_long_string_among_numbers_allocates_no_more_than_itself(client: TestClient) -> None:
    """numpy would allocate 64 times 4 bytes per character: 512 MB."""
    values = ["a" * 2_000_000, *[1] * 63]
    response = client.post(PREDICT, json={"instances": [{"values": values}]})
    assert response.status_code == 422
    assert "numbers from 0 to 255" in response.json()["detail"]


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize("kind", hostile_json.NESTED)
def test_nested_documents_are_rejected(kind: str, size: int, client: TestClient) -> None:
    response = client.post(PREDICT, content=b'{"instances":' + hostile_json.NESTED[kind](size), headers=JSON)
    assert response.status_code in (400, 413)
