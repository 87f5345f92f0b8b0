"""The OpenAPI document describes every part, and its examples are valid. The tests walk the whole document."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
from pydantic import SecretStr
from starlette.routing import Route

from app import oip
from app.http.middleware import is_public_path
from app.main import create_app
from app.openapi import METHODS, iterate_operations
from core.settings import Settings
from tests.support.openapi_document import DOCUMENT

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
LITERAL_KEYS = frozenset({"example", "examples", "default", "enum", "const", "value", "mapping"})
"""Keys whose values are data, not parts of the document."""
Node = tuple[str, dict[str, Any]]
OPERATIONS = [
    pytest.param(path, operation, id=operation["operationId"]) for path, operation in iterate_operations(DOCUMENT)
]


def iterate_nodes(node: Any, pointer: str = "") -> Iterator[Node]:
    """Yield a pointer and each object of the document, except data such as examples."""
    if isinstance(node, dict):
        yield pointer, node
        for key, child in node.items():
            if key not in LITERAL_KEYS or pointer.endswith("/properties"):
                yield from iterate_nodes(child, f"{pointer}/{key}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from iterate_nodes(child, f"{pointer}/{index}")


NODES = list(iterate_nodes(DOCUMENT))


def iterate_schemas() -> Iterator[Node]:
    """Yield a pointer and each schema that is an object with properties."""
    for pointer, node in NODES:
        if isinstance(node.get("properties"), dict) and not pointer.endswith("/properties"):
            yield pointer, node


def iterate_media() -> Iterator[Node]:
    """Yield a pointer and each media type of a request or response."""
    for pointer, node in NODES:
        if pointer.endswith("/content"):
            yield from ((f"{pointer}/{name}", media) for name, media in node.items())


def list_examples(node: dict[str, Any]) -> list[Any]:
    """Return the examples of a media type, a parameter or a schema."""
    examples = node.get("examples", [])
    values = [example["value"] for example in examples.values()] if isinstance(examples, dict) else list(examples)
    return [*values, *([node["example"]] if "example" in node else [])]


@cache
def build_validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """Return the validator of a schema of the document, given as JSON. Many responses have the same schema."""
    return jsonschema_rs.Draft202012Validator(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": DOCUMENT["components"],
            "allOf": [json.loads(schema)],
        }
    )


def find_example_errors(schema: dict[str, Any], examples: list[Any]) -> list[str]:
    """Return the errors of examples that do not match a schema of the document."""
    if not examples:
        return []
    validator = build_validator(json.dumps({k: v for k, v in schema.items() if k not in ("example", "examples")}))
    return [str(error)[:300] for example in examples for error in validator.iter_errors(example)]


def test_every_property_is_described() -> None:
    schemas = list(iterate_schemas())
    assert len(schemas) > 200
    missing = [
        f"{pointer}/{name}"
        for pointer, schema in schemas
        for name, field in schema["properties"].items()
        if not field.get("description")
    ]
    assert not missing, "\n".join(missing)


def test_every_schema_of_an_object_is_described() -> None:
    missing = [name for name, schema in SCHEMAS.items() if "properties" in schema and not schema.get("description")]
    assert [name for name in missing if not name.startswith("Page_")] == []


def test_every_member_of_a_union_requires_the_discriminator() -> None:
    unions = [(pointer, node) for pointer, node in NODES if isinstance(node.get("discriminator"), dict)]
    assert len(unions) > 20
    for pointer, union in unions:
        name = union["discriminator"]["propertyName"]
        for reference in union["discriminator"]["mapping"].values():
            member = SCHEMAS[reference.rsplit("/", 1)[-1]]
            assert name in member["required"], f"{pointer}: {reference}"
            assert {"const", "enum"} & set(member["properties"][name]), f"{pointer}: {reference}"


def test_every_body_of_a_response_has_an_example() -> None:
    bodies = [(pointer, media) for pointer, media in iterate_media() if "/responses/" in pointer]
    assert len(bodies) > 500
    missing = [pointer for pointer, media in bodies if not list_examples(media)]
    assert not missing, "\n".join(missing)


def test_every_example_of_a_body_matches_its_schema() -> None:
    errors = {
        pointer: found
        for pointer, media in iterate_media()
        if (found := find_example_errors(media["schema"], list_examples(media)))
    }
    assert not errors, errors


def test_every_example_of_a_schema_matches_it() -> None:
    errors = {
        pointer: found
        for pointer, node in NODES
        if {"type", "$ref", "anyOf", "oneOf"} & set(node) and not pointer.endswith("/properties")
        if list_examples(node)
        if (found := find_example_errors(node, list_examples(node)))
    }
    assert not errors, errors


def test_every_example_of_a_parameter_matches_its_schema() -> None:
    for path, operation in iterate_operations(DOCUMENT):
        for parameter in operation.get("parameters", ()):
            errors = find_example_errors(parameter["schema"], list_examples(parameter))
            assert not errors, f"{path} {parameter['name']}: {errors}"


def test_no_parameter_is_null() -> None:
    for path, operation in iterate_operations(DOCUMENT):
        for parameter in operation.get("parameters", ()):
            members = [parameter["schema"], *parameter["schema"].get("anyOf", ())]
            assert all(member.get("type") != "null" for member in members), f"{path} {parameter['name']}"


def test_no_description_is_that_of_the_framework() -> None:
    texts = [(pointer, node["description"]) for pointer, node in NODES if isinstance(node.get("description"), str)]
    assert len(texts) > 1000
    assert [pointer for pointer, text in texts if text == "Successful Response"] == []


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_a_description_adds_to_the_summary(path: str, operation: dict[str, Any]) -> None:
    assert operation.get("description"), path
    assert not operation["description"].startswith(operation["summary"]), path


def test_summaries_have_no_markup() -> None:
    for pointer, node in iterate_nodes(DOCUMENT["paths"]):
        assert "`" not in str(node.get("summary", "")), pointer
    for path, operation in iterate_operations(DOCUMENT):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert all("`" not in example["summary"] for example in media.get("examples", {}).values()), path


def test_the_values_of_the_delimiter_have_names() -> None:
    enums = [node for _, node in NODES if "\t" in node.get("enum", ())]
    assert enums
    for node in enums:
        assert len(node["x-enum-varnames"]) == len(node["enum"])
        assert all(name.isidentifier() for name in node["x-enum-varnames"])


def test_bodies_of_predictions_are_named_schemas() -> None:
    for path, operation in iterate_operations(DOCUMENT):
        if path.rsplit("/", 1)[-1] in {"predict", "embed", "explain", "infer"}:
            content = operation["requestBody"]["content"]
            assert "$ref" in content["application/json"]["schema"], path
            assert "$ref" in content.get("multipart/form-data", {"schema": {"$ref": ""}})["schema"], path


def test_streams_have_the_schema_of_their_events() -> None:
    streams = [media for pointer, media in iterate_media() if pointer.endswith("/text/event-stream")]
    assert len(streams) == 2
    for media in streams:
        stream = SCHEMAS[media["schema"]["$ref"].rsplit("/", 1)[-1]]
        assert set(stream["required"]) == {"id", "event", "data"}
        assert stream["properties"]["data"]["discriminator"]["propertyName"] == "type"


def test_the_document_names_its_server() -> None:
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]


@pytest.mark.parametrize("keys", [(), (SecretStr("secret"),)])
def test_keys_are_optional_only_without_keys(keys: tuple[SecretStr, ...]) -> None:
    document = create_app(Settings(api_keys=keys)).openapi()
    operations = list(iterate_operations(document))
    assert any(is_public_path(path) for path, _ in operations)
    for path, operation in operations:
        if is_public_path(path):
            assert operation["security"] == [], path
        else:
            assert {"key": []} in operation["security"], path
            has_key_in_body = operation["operationId"] == "open_session"
            assert ({} in operation["security"]) == (not keys or has_key_in_body), path


def test_every_endpoint_of_v2_is_in_the_document() -> None:
    routes = [route for module in (oip.endpoints, oip.infer) for route in module.router.routes]
    listed = {
        (route.path, method.lower())
        for route in routes
        if isinstance(route, Route) and route.include_in_schema
        for method in route.methods or ()
        if method.lower() in METHODS
    }
    documented = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item if "/v2" in path}
    assert len(listed) > 15
    assert documented == listed
