"""Models, datasets and their versions have a description and tags, and are found by tag."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.state import State
from core.db.session import transaction
from tests.support.builders import dataset_version
from tests.support.finished import finish_job

PATHS = ("/v1/models/digits", "/v1/models/digits/versions/1", "/v1/datasets/pets", "/v1/datasets/pets/versions/1")
CHANGES = {"description": "**Best** so far: naïve.", "tags": ["baseline", "paper/figure-2"]}


@pytest.fixture(autouse=True)
def resources(state: State, post_job: Callable[..., dict[str, Any]]) -> None:
    """Store the model `digits` and the dataset `pets`, each with one version."""
    finish_job(state, post_job()["id"])
    with transaction(state.sessions) as session:
        session.add(dataset_version(name="pets"))


def read(client: TestClient, path: str) -> tuple[Any, Any]:
    document = client.get(path).json()
    return document["description"], document["tags"]


@pytest.mark.parametrize("path", PATHS)
def test_descriptions_and_tags_are_set_changed_and_deleted(client: TestClient, path: str) -> None:
    assert read(client, path) == (None, [])
    response = client.patch(path, json=CHANGES)
    assert response.status_code == 200, response.text
    assert {key: response.json()[key] for key in CHANGES} == CHANGES
    assert read(client, path) == (CHANGES["description"], CHANGES["tags"])
    for other in set(PATHS) - {path}:
        assert read(client, other) == (None, [])
    client.patch(path, json={"tags": ["z", "a"]})
    assert read(client, path) == (CHANGES["description"], ["z", "a"])
    client.patch(path, json={"description": None, "tags": []})
    assert read(client, path) == (None, [])


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_lists_show_descriptions_and_are_filtered_by_tag(client: TestClient, kind: str) -> None:
    name = {"models": "digits", "datasets": "pets"}[kind]
    client.patch(f"/v1/{kind}/{name}", json={"description": "whole", "tags": ["a"]})
    client.patch(f"/v1/{kind}/{name}/versions/1", json={"description": "first", "tags": ["b"]})
    for tags in (["a"], ["b"], ["a", "b"]):
        (item,) = client.get(f"/v1/{kind}", params={"tag": tags}).json()["items"]
        assert (item["name"], item["description"], item["tags"]) == (name, "whole", ["a"])
        assert (item["versions"][0]["description"], item["versions"][0]["tags"]) == ("first", ["b"])
    for unknown in (["c"], ["a", "c"], ["A"]):
        assert client.get(f"/v1/{kind}", params={"tag": unknown}).json()["items"] == []


def test_a_built_in_dataset_has_a_description_before_its_import(client: TestClient) -> None:
    assert client.patch("/v1/datasets/fashion_mnist", json=CHANGES).status_code == 200
    (item,) = client.get("/v1/datasets", params={"tag": "baseline"}).json()["items"]
    assert (item["name"], item["versions"], item["description"]) == ("fashion_mnist", [], CHANGES["description"])
    assert item["summary"]


@pytest.mark.parametrize("path", ["/v1/models/digits/versions/2", "/v1/models/no", "/v1/datasets/no", PATHS[3] + "0"])
def test_what_does_not_exist_cannot_be_described(client: TestClient, path: str) -> None:
    assert client.patch(path, json=CHANGES).status_code == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"description": "a" * 10_001}, "/description"),
        ({"description": 1}, "/description"),
        ({"description": "a\0b"}, "/description"),
        ({"tags": None}, ""),
        ({"tags": ["a", "a"]}, "/tags"),
        ({"tags": [str(number) for number in range(21)]}, "/tags"),
        ({"tags": ["a" * 64]}, "/tags/0"),
        ({"tags": ["white space"]}, "/tags/0"),
        ({"name": "other"}, "/name"),
        ({}, ""),
    ],
)
def test_an_invalid_description_is_refused(client: TestClient, path: str, body: dict[str, Any], pointer: str) -> None:
    response = client.patch(path, json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert read(client, path) == (None, [])


@pytest.mark.parametrize("tag", ["white space", "", "-a"])
def test_an_invalid_tag_of_a_filter_is_refused(client: TestClient, tag: str) -> None:
    for kind in ("models", "datasets"):
        assert client.get(f"/v1/{kind}", params={"tag": tag}).status_code == 422


def test_a_deleted_version_takes_its_description_along(client: TestClient, state: State) -> None:
    client.patch(PATHS[3], json=CHANGES)
    assert client.delete(PATHS[3]).status_code == 204
    with transaction(state.sessions) as session:
        session.add(dataset_version(name="pets", version=1))
    assert read(client, PATHS[3]) == (None, [])
