"""The OpenAPI document is committed, complete, and its examples work."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.export_openapi import render_document
from app.openapi import iterate_operations
from app.state import State
from tests.support.finished import finish_job
from tests.support.openapi_document import COMMITTED, DOCUMENT

OPERATIONS = [
    pytest.param(path, operation, id=operation["operationId"]) for path, operation in iterate_operations(DOCUMENT)
]


def test_the_committed_document_is_the_served_one() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == render_document(), "run `make openapi` and look at what changed"


def test_the_service_serves_this_document(client: TestClient) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in iterate_operations(DOCUMENT)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_is_described(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"]
    assert {"500", "503"} <= set(operation["responses"])
    if "requestBody" in operation:
        assert {"400", "413"} <= set(operation["responses"])
    if "requestBody" in operation and not path.startswith("/v2"):  # which has neither status
        assert "422" in operation["responses"]
        only_json = list(operation["requestBody"]["content"]) == ["application/json"]
        assert "415" in operation["responses"] or not only_json
    if "{" in path and operation["operationId"] != "upload_dataset":  # it creates the dataset
        assert "404" in operation["responses"]
    if path.startswith("/v1/"):
        assert operation["security"]
        assert "401" in operation["responses"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_a_summary_is_short_and_every_parameter_is_described(path: str, operation: dict[str, Any]) -> None:
    assert len(operation["summary"].split()) <= 6
    assert not operation["summary"].endswith(".")
    assert all(parameter.get("description") for parameter in operation.get("parameters", [])), path


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_every_error_is_a_problem(path: str, operation: dict[str, Any]) -> None:
    media_type = "application/json" if path.startswith("/v2") else "application/problem+json"
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            assert list(response["content"]) == [media_type], f"{path} {status}"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_reference_resolves() -> None:
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def examples() -> Iterator[Any]:
    for path, operation in iterate_operations(DOCUMENT):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            yield pytest.param(path, example["value"], id=f"{operation['operationId']}: {name}")


@pytest.mark.parametrize(("path", "body"), [example for example in examples() if example.values[0] == "/v1/jobs"])
def test_an_example_of_a_job_is_accepted(client: TestClient, state: State, path: str, body: Any) -> None:
    if body.get("model") == "digits@1":
        training = client.post(path, json={"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}).json()
        finish_job(state, training["id"])
    assert client.post(path, json=body, params={"dry_run": True}).status_code == 200
    assert client.post(path, json=body).status_code == 202


@pytest.mark.parametrize(("path", "body"), [example for example in examples() if example.values[0].endswith("/clone")])
def test_an_example_of_a_clone_is_accepted(client: TestClient, path: str, body: Any) -> None:
    first = client.post("/v1/jobs", json={"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}).json()
    assert client.post(path.format(job_id=first["id"]), json=body).status_code == 202


def test_every_json_body_has_an_example() -> None:
    for _, operation in iterate_operations(DOCUMENT):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            schema = json.dumps(content) + json.dumps(resolve_reference(content["schema"]))
            assert '"example' in schema, operation["operationId"]


def resolve_reference(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return dict(DOCUMENT["components"]["schemas"][name]) if name else schema
