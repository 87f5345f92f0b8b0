"""The OpenAPI document, made complete and true: what FastAPI's own does not say or says wrongly."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from app.http.middleware import is_public_path
from app.schemas.predictions import PredictIn
from app.schemas.problems import ProblemOut, problem_responses
from core.datasets.ingest.inline import InlineIn

DESCRIPTION = """Train convolutional networks over HTTP, and serve them.

Every error is a problem (RFC 9457, `application/problem+json`). Requests are strict: an unknown field or parameter is
refused, and the nearest valid one is named. With keys configured, send `Authorization: Bearer <key>`."""
TAGS = [
    {"name": "jobs", "description": "Submit a job, follow it, steer it, read what it brought forth."},
    {"name": "datasets", "description": "Upload pictures, look at versions and reports."},
    {"name": "models", "description": "Versions with their lineage, aliases, bundles, predictions."},
    {"name": "catalog", "description": "What a job may name."},
    {"name": "system", "description": "What the service runs on."},
    {"name": "health", "description": "For load balancers and Prometheus."},
]
SPECS = ("JobSpec", "LrFindSpec", "EvaluateSpec", "PredictSpec", "VariantSpec", "PredictArchiveSpec")
METHODS = frozenset({"get", "put", "post", "delete", "patch"})
KEY = "key"


def get_operation_id(route: APIRoute) -> str:
    """The endpoint's name: `submit_job`."""
    return route.name


def build_openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """A replacement for `app.openapi`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete_document(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=DESCRIPTION,
                    routes=app.routes,
                    tags=TAGS,
                )
            )
        return app.openapi_schema

    return openapi


def _complete_document(document: dict[str, Any]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(ProblemOut, "serialization"), (PredictIn, "validation"), (InlineIn, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {
        KEY: {"type": "http", "scheme": "bearer", "description": "One of the service's keys, where it has any."}
    }
    for path, operation in iterate_operations(document):
        _complete_operation(path, operation)
    _adapt_to_generators(document)
    return _name_specs(document)


def iterate_operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, operation) of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, operation


def _complete_operation(path: str, operation: dict[str, Any]) -> None:
    operation["summary"] = operation["description"].partition("\n")[0].partition(". ")[0].rstrip(".")
    answers: dict[str, Any] = operation["responses"]
    if not is_public_path(path):
        operation["security"] = [{KEY: []}, {}]
        answers |= _convert_keys(problem_responses(401, 429))
    answers |= _convert_keys(problem_responses(500, 503))
    refusal = answers.get("422", {}).get("content", {})
    if "application/json" in refusal:  # FastAPI's own description of a shape that is never sent
        if operation.get("parameters") or "requestBody" in operation:
            answers |= _convert_keys(problem_responses(422))
        else:
            del answers["422"]


def _convert_keys(found: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    return {str(status): answer for status, answer in found.items()}


def _name_specs(document: dict[str, Any]) -> dict[str, Any]:
    """A spec as it is sent, and as it is answered: two names, where FastAPI's differ only in a suffix."""
    text = json.dumps(document)
    pairs = [(f"{kind}-Input", kind) for kind in SPECS] + [(f"{kind}-Output", f"Resolved{kind}") for kind in SPECS]
    for suffixed, name in pairs:
        text = text.replace(f'"{suffixed}"', f'"{name}"').replace(f"schemas/{suffixed}", f"schemas/{name}")
    named: dict[str, Any] = json.loads(text)
    for name, schema in named["components"]["schemas"].items():
        schema["title"] = name
    return named


def _adapt_to_generators(node: Any) -> None:  # noqa: ANN401 - any part of the document
    """Say in other words, of the same meaning, what generators of clients stumble over.

    A file must say `format: binary` too; an object is no default; a constant that is a number, or one kind of
    several, breaks the code.
    """
    if isinstance(node, dict):
        if node.get("contentMediaType") == "application/octet-stream":
            node["format"] = "binary"
        if isinstance(node.get("default"), dict) and "oneOf" in node:
            node["description"] = f"Unless given: `{json.dumps(node.pop('default'))}`."
        for constant in (node, *(one for one in node.get("anyOf", ()) if isinstance(one, dict))):
            if "const" in constant and (constant is not node or isinstance(node["const"], int)):
                constant["enum"] = [constant.pop("const")]
        for child in node.values():
            _adapt_to_generators(child)
    elif isinstance(node, list):
        for child in node:
            _adapt_to_generators(child)
