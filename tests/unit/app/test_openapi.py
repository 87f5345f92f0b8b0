"""The additions to FastAPI's OpenAPI document."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from app.openapi import _adapt_to_generators, build_openapi, get_operation_id, iterate_operations


@pytest.fixture
def operations() -> dict[str, dict[str, Any]]:
    """The operations of a small application, by path."""
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
    return dict(iterate_operations(build_openapi(app)()))


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
    assert "security" not in check


def test_what_generators_do_not_support_is_replaced() -> None:
    document: dict[str, Any] = {
        "file": {"contentMediaType": "application/octet-stream"},
        "part": {"oneOf": [], "default": {"name": "adam"}},
        "version": {"const": 1},
        "union": {"anyOf": [{"const": "x"}, {"type": "null"}]},
    }
    _adapt_to_generators(document)
    assert document["file"]["format"] == "binary"
    assert document["part"] == {"oneOf": [], "description": 'Default: `{"name": "adam"}`.'}
    assert document["version"] == {"enum": [1]}
    assert document["union"]["anyOf"][0] == {"enum": ["x"]}
