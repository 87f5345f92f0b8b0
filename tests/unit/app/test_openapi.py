"""The additions to FastAPI's OpenAPI document."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from app.openapi import (
    _adapt_to_generators,
    _remove_null,
    _require_discriminators,
    build_openapi,
    get_operation_id,
    iterate_operations,
)


def build_app() -> FastAPI:
    """Build a small application."""
    router = APIRouter()

    @router.get("/v1/things")
    def list_things(limit: int = 5) -> list[str]:
        """List things.

        In alphabetical order.
        """
        return []

    @router.get("/health/live")
    def check() -> None:
        """Check liveness."""

    app = FastAPI(generate_unique_id_function=get_operation_id)
    app.include_router(router)
    return app


@pytest.fixture
def operations() -> dict[str, dict[str, Any]]:
    """The operations of a small application, by path."""
    return dict(iterate_operations(build_openapi(build_app())()))


def test_the_first_line_is_the_summary_and_the_rest_the_description(operations: dict[str, dict[str, Any]]) -> None:
    things, check = operations["/v1/things"], operations["/health/live"]
    assert (things["operationId"], things["summary"], things["description"]) == (
        "list_things",
        "List things",
        "In alphabetical order.",
    )
    assert check["summary"] == "Check liveness"
    assert "description" not in check


def test_every_operation_declares_errors_and_private_ones_a_key(operations: dict[str, dict[str, Any]]) -> None:
    things, check = operations["/v1/things"], operations["/health/live"]
    assert {"401", "422", "429", "500", "503"} <= set(things["responses"])
    assert "application/problem+json" in things["responses"]["422"]["content"]
    assert things["security"]
    assert set(check["responses"]) == {"200", "500", "503"}
    assert check["security"] == []


def test_keys_are_optional_unless_some_are_configured() -> None:
    app = build_app()
    without, with_keys = build_openapi(app)(), build_openapi(build_app(), has_keys=True)()
    for document, is_optional in ((without, True), (with_keys, False)):
        assert ({} in document["paths"]["/v1/things"]["get"]["security"]) == is_optional


def test_what_generators_do_not_support_is_replaced() -> None:
    document: dict[str, Any] = {
        "file": {"contentMediaType": "application/octet-stream"},
        "part": {"oneOf": [], "default": {"name": "adam"}},
        "version": {"const": 1},
        "union": {"anyOf": [{"const": "x"}, {"type": "null"}]},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}]},
        "delimiter": {"enum": [",", ";", "\t", "|"]},
    }
    _adapt_to_generators(document)
    assert document["file"]["format"] == "binary"
    assert document["part"] == {"oneOf": [], "description": 'Default: `{"name": "adam"}`.'}
    assert document["version"] == {"enum": [1]}
    assert document["union"]["anyOf"][0] == {"enum": ["x"]}
    assert document["pair"] == {"type": "array", "items": {"type": "integer"}}
    assert document["delimiter"]["x-enum-varnames"] == ["comma", "semicolon", "tab", "pipe"]


def test_generators_see_the_values_of_objects_with_a_pattern_of_their_keys() -> None:
    number, pattern = {"type": "number"}, "^/.+$"
    document = {"items": [{"type": "object", "patternProperties": {pattern: number}, "maxProperties": 9}]}
    _adapt_to_generators(document)
    expected = {"propertyNames": {"pattern": pattern}, "additionalProperties": number}
    assert document["items"] == [{"type": "object", "maxProperties": 9, **expected}]


def test_a_default_is_added_to_the_description() -> None:
    document: dict[str, Any] = {"part": {"oneOf": [], "default": {"name": "adam"}, "description": "The optimizer."}}
    _adapt_to_generators(document)
    assert document["part"]["description"] == 'The optimizer. Default: `{"name": "adam"}`.'


def test_parameters_are_not_null() -> None:
    optional = {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "A number."}
    _remove_null(optional)
    assert optional == {"type": "integer", "description": "A number."}
    several = {"anyOf": [{"type": "integer"}, {"const": "auto"}, {"type": "null"}]}
    _remove_null(several)
    assert several == {"anyOf": [{"type": "integer"}, {"const": "auto"}]}


def test_discriminators_are_required() -> None:
    schemas: dict[str, Any] = {"Adam": {"required": ["lr"]}, "Sgd": {}}
    references = {name: f"#/components/schemas/{name}" for name in schemas}
    union = {"items": {"oneOf": [], "discriminator": {"propertyName": "name", "mapping": references}}}
    for _ in range(2):  # a member of several unions
        _require_discriminators([union], schemas)
    assert schemas == {"Adam": {"required": ["name", "lr"]}, "Sgd": {"required": ["name"]}}
