"""Every array, string, object and number that a client can send has a maximum in its JSON schema."""

from collections.abc import Iterator
from typing import Any

import pytest

import models
from app.main import create_app
from core.datasets import builtin
from core.datasets.ingest.archive import UploadOptions
from core.datasets.tables.table_options import TableOptions
from core.settings import Settings
from core.spec import ANY_JOB
from core.sweeps.spec import SweepSpec

EXCEPTIONS = {
    # An image in base64; `CANDELA_MAX_IMAGE_BYTES` limits the decoded file.
    "InstanceIn/image": "the size of the body limits it",
    # Nested arrays: the JSON of a request is limited to the values that the model can use.
    "InstanceIn/values": "the number of JSON values limits it",
    "InlineIn/inputs": "the number of JSON values limits it, and the import limits the rows and images",
    "InlineIn/targets": "its length must equal that of `inputs`",
    "PredictIn/rows/items/additionalProperties": "the columns of the model limit numbers, and the body limits strings",
}
"""Fields without a maximum in the schema, and the limit that applies instead."""

Path = tuple[str, ...]
BOUNDED_STRING = {"maxLength", "pattern", "enum", "const", "format"}


def iterate_unbounded(node: Any, path: Path) -> Iterator[str]:
    """Yield the location of every schema without a maximum."""
    if not isinstance(node, dict):
        return
    kinds = node.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    location = "/".join(path)
    if "array" in kinds and "maxItems" not in node:
        yield f"{location}: an array without maxItems"
    if "string" in kinds and not BOUNDED_STRING & set(node):
        yield f"{location}: a string without maxLength, pattern, enum, const or format"
    has_any_keys = node.get("additionalProperties") not in (False, None) or "patternProperties" in node
    if "object" in kinds and has_any_keys and "maxProperties" not in node:
        yield f"{location}: an object without maxProperties"
    if kinds & {"integer", "number"} and not node.keys() & {"enum", "const"}:
        for ends in ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}):
            if not ends & set(node):
                yield f"{location}: a number without {' or '.join(sorted(ends))}"
    for name, member in node.get("properties", {}).items():
        yield from iterate_unbounded(member, (*path, name))
    for key in ("items", "additionalProperties"):
        yield from iterate_unbounded(node.get(key), (*path, key))
    for member in node.get("patternProperties", {}).values():
        yield from iterate_unbounded(member, (*path, "patternProperties"))
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for member in node.get(key, ()):
            yield from iterate_unbounded(member, path)


def list_unbounded(schema: dict[str, Any], root: str) -> list[str]:
    """Return the locations without a maximum in a schema and its definitions."""
    locations = [*iterate_unbounded(schema, (root,))]
    for name, definition in schema.get("$defs", {}).items():
        locations += iterate_unbounded(definition, (name,))
    return [place for place in locations if place.split(":")[0] not in EXCEPTIONS]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return create_app(Settings()).openapi()


def list_request_schemas(document: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield a name and the schema of every parameter and JSON body."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter["schema"]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                yield f"{method} {path} body", body["schema"]


def list_references(node: Any) -> Iterator[str]:
    """Yield the names of the components to which a schema refers."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rsplit("/", 1)[-1]
        for member in node.values():
            yield from list_references(member)
    elif isinstance(node, list):
        for member in node:
            yield from list_references(member)


def test_every_field_of_a_request_has_a_maximum(document: dict[str, Any]) -> None:
    components, unbounded = document["components"]["schemas"], []
    pending, visited = list[str](), set[str]()
    for name, schema in list_request_schemas(document):
        unbounded += list_unbounded(schema, name)
        pending += list_references(schema)
    while pending:
        name = pending.pop()
        if name not in visited:
            visited.add(name)
            unbounded += list_unbounded(components[name], name)
            pending += list_references(components[name])
    assert visited, "no component was found"
    assert not unbounded, "\n".join(unbounded)


def test_every_field_of_a_spec_has_a_maximum() -> None:
    unbounded = list_unbounded(ANY_JOB.json_schema(), "job")
    for options in (TableOptions, UploadOptions, SweepSpec):
        unbounded += list_unbounded(options.model_json_schema(), options.__name__)
    assert not unbounded, "\n".join(unbounded)


@pytest.mark.parametrize("name", models.registry.list_architectures())
def test_every_option_of_an_architecture_has_a_maximum(name: str) -> None:
    schema = models.registry.get_architecture(name).options.model_json_schema()
    assert not list_unbounded(schema, name)


@pytest.mark.parametrize("name", builtin.list_names())
def test_every_option_of_a_dataset_has_a_maximum(name: str) -> None:
    assert not list_unbounded(builtin.get_dataset(name).options.model_json_schema(), name)
