"""Names that are parts of paths of the API are refused for new models, datasets and aliases."""

from base64 import b64encode
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import oip
from app.main import ROUTERS
from app.state import State
from core.spec.reserved_names import RESERVED_NAMES
from tests.support.bundles import register_model

ROUTERS_OF_MODELS = (oip.endpoints, oip.infer)
NAMED = {"{model}", "{name}", "{ref}", "{alias}"}
"""The parameters of paths whose values clients choose."""


def list_paths() -> list[list[str]]:
    """Return the segments of the path of every endpoint of models and datasets."""
    routes = [route for module in (*ROUTERS, *ROUTERS_OF_MODELS) for route in module.router.routes]
    paths = [str(getattr(route, "path", "")).split("/") for route in routes]
    return [path for path in paths if {"models", "datasets"} & set(path)]


def list_conflicting_names() -> Iterator[str]:
    """Yield the literal segments that stand in the place of a name, or directly after a name."""
    paths = list_paths()
    for path in paths:
        for name, follower in pairwise(path):
            if name.partition(":")[0] in NAMED and not follower.startswith("{"):
                yield follower
        for other in paths:
            for index, (segment, sibling) in enumerate(zip(path, other, strict=False)):
                if path[:index] == other[:index] and segment in NAMED and not sibling.startswith("{"):
                    yield sibling


def test_every_segment_that_can_be_taken_for_a_name_is_reserved() -> None:
    names = set(list_conflicting_names())
    assert {"stats", "ready", "config", "infer", "versions", "predict"} <= names
    assert names <= RESERVED_NAMES


@pytest.fixture
def cats(state: State) -> None:
    """Register the model `cats`."""
    register_model(state.sessions, state.storage, "cats", 1)


def list_pointers(response: Any) -> list[str]:
    assert response.status_code == 422, response.text
    problem = response.json()
    assert "reserved" in problem["errors"][0]["detail"]
    return [error["pointer"] for error in problem["errors"]]


TRAINING: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}
REGISTRATION: dict[str, Any] = {"architecture": {"name": "efficientnet_lite0"}, "weights": "pretrained"}


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_model_cannot_get_a_reserved_name(client: TestClient, name: str) -> None:
    for field in ("name", "model"):
        assert list_pointers(client.post("/v1/jobs", json=TRAINING | {field: name})) == [f"/{field}"]
    assert list_pointers(client.post("/v1/jobs", json=REGISTRATION | {"kind": "register", "model": name})) == ["/model"]
    assert list_pointers(client.post("/v1/models", json=REGISTRATION | {"name": name})) == ["/name"]


def test_a_job_that_registers_no_model_can_have_a_reserved_name(client: TestClient) -> None:
    for field in ("name", "model"):
        lr_find = TRAINING | {"kind": "lr_find", field: "stats"}
        assert client.post("/v1/jobs", json=lr_find, params={"dry_run": True}).status_code == 200


def test_a_job_of_a_reserved_name_can_register_another_model(client: TestClient) -> None:
    assert client.post("/v1/jobs", json=TRAINING | {"name": "stats", "model": "digits"}).status_code == 202


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_dataset_cannot_get_a_reserved_name(client: TestClient, name: str) -> None:
    table = b"a,b\n1,2\n3,4\n"
    upload = client.post(f"/v1/datasets/{name}/versions", content=table, headers={"Content-Type": "text/csv"})
    assert list_pointers(upload) == ["{name}"]
    inline = {"name": name, "inputs": [[1], [2]], "targets": [0, 1]}
    assert list_pointers(client.post("/v1/datasets", json=inline)) == ["/name"]
    edit = {"name": name, "operations": [{"kind": "drop_blank"}]}
    assert list_pointers(client.post("/v1/datasets/digits/versions/1/edits", json=edit)) == ["/name"]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "9"}
    headers["Upload-Metadata"] = f"dataset {b64encode(name.encode()).decode()}"
    assert list_pointers(client.post("/v1/uploads", headers=headers)) == ["Upload-Metadata/dataset:"]


@pytest.mark.usefixtures("cats")
@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_an_alias_cannot_have_a_reserved_name(client: TestClient, name: str) -> None:
    assert list_pointers(client.put(f"/v1/models/cats/aliases/{name}", json={"version": 1})) == ["/alias"]


def test_other_names_are_accepted(client: TestClient) -> None:
    for name in ("statistics", "stats-2", "my.index"):
        assert client.post("/v1/jobs", json=TRAINING | {"model": name}).status_code == 202
