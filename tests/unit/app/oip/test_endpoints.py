"""Endpoints of `/v2` other than inference; `tests/integration/test_oip_tritonclient.py` uses a real client."""

import pytest
from fastapi.testclient import TestClient

from app.state import State
from tests.support import hostile_json
from tests.support.bundles import register_model


@pytest.fixture(autouse=True)
def cats(state: State) -> None:
    """Register the model `cats`."""
    register_model(state.sessions, state.storage, "cats", 1)


def test_server_and_models_have_metadata(client: TestClient) -> None:
    assert client.get("/v2").json()["name"] == "candela"
    assert client.get("/v2/models/cats").json()["versions"] == ["1"]
    assert client.get("/v2/models/cats/versions/1/config").json()["name"] == "cats"


def test_repository_index_lists_loaded_models(client: TestClient) -> None:
    assert client.post("/v2/repository/index", json={"ready": True}).json() == []
    client.post("/v2/repository/models/cats/load")
    entry = {"name": "cats", "version": "1", "state": "READY", "reason": ""}
    assert client.post("/v2/repository/index", json={"ready": True}).json() == [entry]
    client.post("/v2/repository/models/cats/unload")
    assert client.post("/v2/repository/index").json() == [entry | {"state": "UNAVAILABLE", "reason": "unloaded"}]


def test_configuration_of_a_model_cannot_be_replaced(client: TestClient) -> None:
    response = client.post("/v2/repository/models/cats/load", json={"parameters": {"config": "{}"}})
    assert (response.status_code, "immutable" in response.json()["error"]) == (400, True)


@pytest.mark.parametrize("path", ["/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging"])
def test_unsupported_extensions_have_status_501(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, list(response.json())) == (501, ["error"])


def test_a_document_with_too_many_values_is_rejected(client: TestClient) -> None:
    for path in ("/v2/repository/index", "/v2/repository/models/cats/load", "/v2/repository/models/cats/unload"):
        response = client.post(path, content=hostile_json.repeat(b"[]", 300_000))
        assert response.status_code == 413
        assert "at most 250000 are accepted" in response.json()["error"]
