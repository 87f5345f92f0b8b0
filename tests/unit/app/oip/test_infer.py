"""Parameters of inference requests."""

import pytest
from fastapi.testclient import TestClient

from app.inference.batcher import DynamicBatcher
from app.inference.types import Request
from app.oip.infer import get_priority_level
from app.state import State
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
