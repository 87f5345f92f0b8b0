"""Extends FastAPI's OpenAPI document with error responses, security requirements and schema names."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from app.http.browser_sessions import LOOPBACK_COOKIE, SECURE_COOKIE
from app.http.middleware import is_public_path
from app.schemas.predictions import PredictIn
from app.schemas.problems import ProblemOut, problem_responses
from core.datasets.ingest.inline import InlineIn
from core.spec.base import Spec
from core.spec.shorthand import describe_shorthand, get_forms

DESCRIPTION = """Train and serve convolutional networks over HTTP.

Errors are problem details (RFC 9457) of the type `application/problem+json`, or of the type `application/json` if the
header `Accept` allows only that. Requests are validated strictly: an unknown
field or parameter is an error, and the error message suggests the most similar valid name. In JSON bodies, a value may
stand for an array of one (`"metrics": "accuracy"`), and a name for an object with defaults (`"optimizer": "adam"`);
pointers in errors refer to the long form, which responses have. Request bodies may have a `Content-Encoding`: gzip,
deflate, br or zstd. If API keys are configured,
send `Authorization: Bearer <key>`."""
TAGS = [
    {"name": "jobs", "description": "Submit and control jobs, and read their metrics, logs, checkpoints and results."},
    {"name": "datasets", "description": "Upload datasets, and read their versions, reports and previews."},
    {"name": "models", "description": "Predict with models, and manage their versions, aliases, bundles and variants."},
    {"name": "catalog", "description": "The components that a job spec may use, such as architectures and optimizers."},
    {"name": "system", "description": "The state of the service."},
    {"name": "health", "description": "Health checks and metrics, for load balancers and Prometheus."},
]
SPECS = ("JobSpec", "LrFindSpec", "EvaluateSpec", "PredictSpec", "VariantSpec", "PredictArchiveSpec")
METHODS = frozenset({"get", "put", "post", "delete", "patch"})
KEY = "key"
SESSION = "session"


def get_operation_id(route: APIRoute) -> str:
    """Return the operation id of a route: the name of the endpoint function, such as `submit_job`."""
    return route.name


def build_openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that replaces `app.openapi` and returns the extended document."""

    def get_document() -> dict[str, Any]:
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

    return get_document


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
        KEY: {"type": "http", "scheme": "bearer", "description": "An API key; required if API keys are configured."},
        SESSION: {
            "type": "apiKey",
            "in": "cookie",
            "name": SECURE_COOKIE,
            "description": f"The cookie of a session, see `POST /v1/session`. On loopback: `{LOOPBACK_COOKIE}`.",
        },
    }
    for path, operation in iterate_operations(document):
        _complete_operation(path, operation)
    _describe_shorthands(schemas)
    _adapt_to_generators(document)
    return _name_specs(document)


def _describe_shorthands(schemas: dict[str, Any]) -> None:
    """Add the short forms of fields to their descriptions. For generated clients, schemas have only the long forms."""
    for model in iterate_subclasses(Spec):
        for name in (model.__name__, f"{model.__name__}-Input"):
            for field, form in get_forms(model).items():
                node = schemas.get(name, {}).get("properties", {}).get(field)
                sentence = describe_shorthand(form)
                if node is not None and sentence:
                    node["description"] = f"{node.get('description', '')} In requests: {sentence}".strip()


def iterate_subclasses(base: type[Spec]) -> Iterator[type[Spec]]:
    """Yield all classes that inherit from `base`."""
    for subclass in base.__subclasses__():
        yield subclass
        yield from iterate_subclasses(subclass)


def iterate_operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the operation of every endpoint."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, operation


def _complete_operation(path: str, operation: dict[str, Any]) -> None:
    summary, _, description = operation.pop("description").partition("\n\n")  # the docstring of the endpoint
    operation["summary"] = summary.rstrip(".")
    if description:
        operation["description"] = description
    responses: dict[str, Any] = operation["responses"]
    if not is_public_path(path):
        operation["security"] = [{KEY: []}, {SESSION: []}, {}]
        responses |= _convert_keys(problem_responses(401, 429))
    responses |= _convert_keys(problem_responses(500, 503))
    if "requestBody" in operation:
        responses |= _convert_keys(problem_responses(415))  # an unknown Content-Encoding
    content = responses.get("422", {}).get("content", {})
    if "application/json" in content:  # FastAPI's default error schema, which this service does not use
        if operation.get("parameters") or "requestBody" in operation:
            responses |= _convert_keys(problem_responses(422))
        else:
            del responses["422"]


def _convert_keys(responses: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    return {str(status): response for status, response in responses.items()}


def _name_specs(document: dict[str, Any]) -> dict[str, Any]:
    """Rename the schemas of all specs: `JobSpec-Input` to `JobSpec`, and `JobSpec-Output` to `ResolvedJobSpec`."""
    text = json.dumps(document)
    pairs = [(f"{kind}-Input", kind) for kind in SPECS] + [(f"{kind}-Output", f"Resolved{kind}") for kind in SPECS]
    for suffixed, name in pairs:
        text = text.replace(f'"{suffixed}"', f'"{name}"').replace(f"schemas/{suffixed}", f"schemas/{name}")
    renamed: dict[str, Any] = json.loads(text)
    for name, schema in renamed["components"]["schemas"].items():
        schema["title"] = name
    return renamed


def _adapt_to_generators(node: Any) -> None:  # noqa: ANN401 - any part of the document
    """Replace schema features that client generators do not support with equivalent features.

    Files get `format: binary`. A default value that is an object moves to the description. A constant becomes an enum
    with one value if it is a number or a member of a union.
    """
    if isinstance(node, dict):
        if node.get("contentMediaType") == "application/octet-stream":
            node["format"] = "binary"
        if isinstance(node.get("default"), dict) and "oneOf" in node:
            node["description"] = f"Default: `{json.dumps(node.pop('default'))}`."
        for constant in (node, *(member for member in node.get("anyOf", ()) if isinstance(member, dict))):
            if "const" in constant and (constant is not node or isinstance(node["const"], int)):
                constant["enum"] = [constant.pop("const")]
        for child in node.values():
            _adapt_to_generators(child)
    elif isinstance(node, list):
        for child in node:
            _adapt_to_generators(child)
