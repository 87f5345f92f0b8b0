"""Parameters of inference requests."""

import gzip
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.inference.batcher import DynamicBatcher
from app.inference.types import Request
from app.oip import infer, requests, responses
from app.oip.infer import get_priority_level
from app.state import State
from tests.support import hostile_json
from tests.support.bundles import register_model


@pytest.mark.parametrize(("priority", "level"), [(0, 2), (1, 1), (2, 2), (3, 3), (4, 2), (2**63 - 1, 2)])
def test_unknown_priority_is_the_default_level(priority: int, level: int) -> None:
    assert get_priority_level(priority) == level


def test_priority_of_a_request_reaches_the_batcher(
    client: TestClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_model(state.sessions, state.storage, "shapes", 1)
    levels, put = [], DynamicBatcher.put

    def record(batcher: DynamicBatcher, request: Request) -> None:
        levels.append(request.priority)
        put(batcher, request)

    monkeypatch.setattr(DynamicBatcher, "put", record)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    for parameters in ({}, {"priority": 1}, {"priority": 3}, {"priority": 0}):
        response = client.post("/v2/models/shapes/infer", json={"inputs": [tensor], "parameters": parameters})
        assert response.status_code == 200, response.text
    assert levels == [2, 1, 3, 2]


PATH = "/v2/models/shapes/infer"


@pytest.fixture
def shapes(state: State) -> None:
    """Register the model `shapes`, which reads images of 8 x 8, and the larger model `large`."""
    register_model(state.sessions, state.storage, "shapes", 1)
    register_model(state.sessions, state.storage, "large", 1, image_shape=(1, 224, 224))


@pytest.fixture
def no_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if the data of a tensor is read."""
    for name in ("from_json", "from_bytes"):
        monkeypatch.setattr(requests, name, pytest.fail)


@pytest.mark.usefixtures("shapes", "no_data_is_read")
@pytest.mark.parametrize(
    ("shape", "datatype", "reason"),
    [
        ([8_000_000], "BYTES", "batch size of 8000000; at most 32"),
        ([8_000_000, 1], "BYTES", "batch size of 8000000; at most 32"),
        ([1, 8_000_000], "BYTES", "the model takes shape [-1] or [-1, 1]"),
        ([33, 8, 8, 1], "UINT8", "batch size of 33; at most 32"),
        ([33, 1, 8, 8], "FP32", "batch size of 33; at most 32"),
        ([1_000_000], "UINT8", "the model takes shape [-1, 8, 8, 1]"),
        ([1, 8, 8, 1], "FLOAT", "unknown datatype"),
    ],
)
def test_the_declared_shape_is_checked_before_the_data_is_read(
    shape: list[int], datatype: str, reason: str, client: TestClient
) -> None:
    binary, headers = hostile_json.build_binary_tensor(b"\0" * 1_000_000, shape, datatype)
    for body, fields in ((binary, headers), (hostile_json.build_tensor(b"[]", shape, datatype), {})):
        response = client.post(PATH, content=body, headers=fields)
        assert response.status_code == 400, response.text
        assert reason in response.json()["error"]


@pytest.mark.usefixtures("shapes", "no_data_is_read")
def test_the_name_of_an_input_is_checked_before_its_data_is_read(client: TestClient) -> None:
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    response = client.post(PATH, json={"inputs": [tensor]})
    assert "unexpected input 'pixels'" in response.json()["error"]


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("model", ["shapes", "large"])
@pytest.mark.parametrize("kind", hostile_json.VALUES)
def test_json_with_more_values_than_the_model_can_use_is_not_parsed(
    model: str, kind: str, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_parse_json", pytest.fail)
    data = hostile_json.VALUES[kind](2_500_000)
    for body, headers in (
        (hostile_json.build_tensor(data, [1, 8, 8, 1]), {}),
        (data + b"\0", {"Inference-Header-Content-Length": str(len(data))}),
        (gzip.compress(data, 1), {"Content-Encoding": "gzip"}),
    ):
        response = client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
        assert response.status_code == 413, response.text
        assert "values and keys; at most" in response.json()["error"]


@pytest.mark.usefixtures("shapes")
def test_an_unknown_model_is_reported_before_the_body_is_parsed(client: TestClient) -> None:
    assert client.post("/v2/models/unknown/infer", content=b"[" * 1_000_000).status_code == 404


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("version", ["9" * 25, str(2**31), str(2**63), "1" * 60])
def test_a_version_of_many_digits_does_not_exist(version: str, client: TestClient) -> None:
    for response in (
        client.post(f"/v2/models/shapes/versions/{version}/infer", json={}),
        client.get(f"/v2/models/shapes/versions/{version}"),
        client.get(f"/v2/models/shapes/versions/{version}/ready"),
    ):
        assert response.status_code == 404
        assert response.json() == {"error": f"Request for unknown model: Model 'shapes' has no version {version}."}


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize("is_large", [True, False])
def test_large_responses_are_encoded_in_a_thread(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    threads: set[str] = set()
    encode = responses.encode_response

    def record(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name.partition(" ")[0])
        return encode(*arguments)

    monkeypatch.setattr(infer, "encode_response", record)
    if is_large:
        monkeypatch.setattr(infer, "MAX_INLINE_BYTES", 0)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    assert client.post(PATH, json={"inputs": [tensor]}).status_code == 200
    assert (threads == {"AnyIO"}) == is_large
