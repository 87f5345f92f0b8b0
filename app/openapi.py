"""Extends FastAPI's OpenAPI document with error responses, security requirements, schema names and examples."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from app.api.browser_sessions import open_session
from app.api.predict_request import FILES_BODY, FILES_SCHEMA
from app.http.browser_sessions import LOOPBACK_COOKIE, SECURE_COOKIE
from app.http.middleware import is_public_path
from app.oip import documentation as oip
from app.oip.schemas import InferIn, InferOut, OipErrorOut
from app.openapi_examples import ExampleComposer, build_problem_example
from app.schemas.job_events import EventStreamOut
from app.schemas.predictions import PredictIn, PredictionsOut
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
deflate, br or zstd. If API keys are configured, send `Authorization: Bearer <key>`. [All problems](/problems)."""
TAGS = [
    {"name": "jobs", "description": "Submit and control jobs, and read their metrics, logs, checkpoints and results."},
    {"name": "sweeps", "description": "Search for the best parameters of a job, and read the trials of the search."},
    {"name": "datasets", "description": "Upload datasets, and read their versions, reports and previews."},
    {"name": "models", "description": "Predict with models, and manage their versions, aliases, bundles and variants."},
    {"name": "catalog", "description": "The components that a job spec may use, such as architectures and optimizers."},
    {"name": "system", "description": "The state of the service."},
    {
        "name": oip.TAG,
        "description": "The [Open Inference Protocol V2](https://github.com/kserve/open-inference-protocol), with "
        'Triton\'s HTTP extensions. Errors are `{"error": "…"}`.',
    },
    {"name": "health", "description": "Health checks and metrics, for load balancers and Prometheus."},
]
SPECS = (
    "SweepSpec",
    "JobSpec",
    "LrFindSpec",
    "EvaluateSpec",
    "PredictSpec",
    "VariantSpec",
    "PredictArchiveSpec",
    "ReproduceSpec",
)
METHODS = frozenset({"get", "put", "post", "delete", "patch"})
BODIES = (PredictIn, InlineIn, InferIn, *oip.REPOSITORY_BODIES)
"""Request bodies that endpoints parse without FastAPI."""
DOCUMENTED = (ProblemOut, EventStreamOut, PredictionsOut, InferOut, OipErrorOut)
"""Response bodies that endpoints write without FastAPI, or whose examples contain null, which FastAPI removes."""
SERVERS = [{"url": "/", "description": "This service."}]
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
FASTAPI_DESCRIPTION = "Successful Response"
KEY = "key"
SESSION = "session"
OPEN_SESSION = open_session.__name__
"""The operation whose API key is in the body."""


def get_operation_id(route: APIRoute) -> str:
    """Return the operation id of a route: the name of the endpoint function, such as `submit_job`."""
    return route.name


def build_openapi(
    app: FastAPI, *, has_keys: bool = False, routes: Sequence[BaseRoute] = ()
) -> Callable[[], dict[str, Any]]:
    """Return a function that replaces `app.openapi` and returns the extended document.

    Args:
        app: the application.
        has_keys: whether API keys are configured. Otherwise, the document says that they are optional.
        routes: the routes of a sub-application, which are added to the document.
    """

    def get_document() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=DESCRIPTION,
                routes=[*app.routes, *routes],
                tags=TAGS,
                servers=SERVERS,
            )
            app.openapi_schema = _complete_document(document, has_keys=has_keys)
        return app.openapi_schema

    return get_document


def _complete_document(document: dict[str, Any], *, has_keys: bool) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(body, "validation") for body in BODIES] + [(body, "serialization") for body in DOCUMENTED],
        ref_template="#/components/schemas/{model}",
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"] | {FILES_BODY: FILES_SCHEMA}
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
        _complete_operation(path, operation, has_keys=has_keys)
    _describe_shorthands(schemas)
    _adapt_to_generators(document)
    renamed = _name_specs(document)
    for name, schema in renamed["components"]["schemas"].items():
        _require_discriminators(schema, renamed["components"]["schemas"])
        schema["title"] = name
    for _, operation in iterate_operations(renamed):
        _require_discriminators(operation, renamed["components"]["schemas"])
    _complete_responses(renamed)
    return renamed


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


def _complete_operation(path: str, operation: dict[str, Any], *, has_keys: bool) -> None:
    summary, _, description = operation.pop("description").partition("\n\n")  # the docstring of the endpoint
    operation["summary"] = summary.rstrip(".")
    if description:
        operation["description"] = description
    for parameter in operation.get("parameters", ()):
        _remove_null(parameter["schema"])
    responses: dict[str, Any] = operation["responses"]
    describe = oip.describe_errors if path.startswith("/v2") else problem_responses
    if is_public_path(path):
        operation["security"] = []
    else:
        is_optional = not has_keys or operation["operationId"] == OPEN_SESSION
        operation["security"] = [{KEY: []}, {SESSION: []}, *([{}] if is_optional else [])]
        responses |= _convert_keys(describe(401, 429))
    responses |= _convert_keys(describe(500, 503))
    if "requestBody" in operation:
        responses |= _convert_keys(describe(415))  # an unknown Content-Encoding
    content = responses.get("422", {}).get("content", {})
    if "application/json" in content:  # FastAPI's default error schema, which this service does not use
        has_input = operation.get("parameters") or "requestBody" in operation
        if has_input and describe is problem_responses:
            responses |= _convert_keys(problem_responses(422))
        else:
            del responses["422"]


def _remove_null(schema: dict[str, Any]) -> None:
    """Remove the type `null` from the schema of a parameter: URLs and headers have no null."""
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if len(members) == 1:
        del schema["anyOf"]
        schema |= members[0]
    elif members:
        schema["anyOf"] = members


def _convert_keys(responses: dict[int | str, dict[str, Any]]) -> dict[str, Any]:
    return {str(status): response for status, response in responses.items()}


def _name_specs(document: dict[str, Any]) -> dict[str, Any]:
    """Rename the schemas of all specs: `JobSpec-Input` to `JobSpec`, and `JobSpec-Output` to `ResolvedJobSpec`."""
    text = json.dumps(document)
    pairs = [(f"{kind}-Input", kind) for kind in SPECS] + [(f"{kind}-Output", f"Resolved{kind}") for kind in SPECS]
    for suffixed, name in pairs:
        text = text.replace(f'"{suffixed}"', f'"{name}"').replace(f"schemas/{suffixed}", f"schemas/{name}")
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _require_discriminators(node: Any, schemas: dict[str, Any]) -> None:  # noqa: ANN401 - any part of the document
    """Require the property that selects the member of a union in each member.

    The service also accepts a job without `kind`, which trains. In the document `kind` is required, because generated
    clients and validators select the member by it.
    """
    if isinstance(node, dict):
        discriminator = node.get("discriminator")
        if isinstance(discriminator, dict):
            for reference in discriminator.get("mapping", {}).values():
                member = schemas[reference.rsplit("/", 1)[-1]]
                name = discriminator["propertyName"]
                member["required"] = [name, *(key for key in member.get("required", ()) if key != name)]
        for child in node.values():
            _require_discriminators(child, schemas)
    elif isinstance(node, list):
        for child in node:
            _require_discriminators(child, schemas)


def _complete_responses(document: dict[str, Any]) -> None:
    """Add a description to the responses that have that of FastAPI, and an example to each media type."""
    schemas = document["components"]["schemas"]
    composer = ExampleComposer(schemas)
    for path, operation in iterate_operations(document):
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            if response["description"] == FASTAPI_DESCRIPTION:
                response["description"] = _describe_response(content, schemas)
            for media in content.values():
                if "example" in media or "examples" in media:
                    continue
                is_problem = int(status) >= 400 and not path.startswith("/v2")
                schema = media.get("schema", {})
                media["example"] = build_problem_example(int(status)) if is_problem else composer.compose(schema)


def _describe_response(content: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return the first sentence of the description of the body."""
    if not content:
        return "The request was executed; the response has no body."
    schema = next(iter(content.values())).get("schema", {})
    members = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    name = next((member["$ref"].rsplit("/", 1)[-1] for member in members if "$ref" in member), "")
    default = "A page of the list." if name.startswith("Page_") else "The response."
    return str(schemas.get(name, {}).get("description", default)).partition(". ")[0].rstrip(".") + "."


def _adapt_to_generators(node: Any) -> None:  # noqa: ANN401 - any part of the document
    """Replace schema features that client generators do not support with equivalent features.

    Files get `format: binary`. A default value that is an object moves to the description. A constant becomes an enum
    with one value if it is a number or a member of a union. Arrays of a fixed length get `items`, objects with a
    pattern of their keys get `additionalProperties`, and the values of the delimiter get names.
    """
    if isinstance(node, dict):
        if node.get("contentMediaType") == "application/octet-stream":
            node["format"] = "binary"
        if isinstance(node.get("patternProperties"), dict) and len(node["patternProperties"]) == 1:
            [(pattern, node["additionalProperties"])] = node.pop("patternProperties").items()
            node["propertyNames"] = {"pattern": pattern}
        if isinstance(node.get("default"), dict) and "oneOf" in node:
            default = f"Default: `{json.dumps(node.pop('default'))}`."
            node["description"] = f"{node['description']} {default}" if "description" in node else default
        if "prefixItems" in node:
            members = node.pop("prefixItems")
            distinct = [member for index, member in enumerate(members) if member not in members[:index]]
            node["items"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
        if set(node.get("enum", ())) == set(DELIMITERS):
            node["x-enum-varnames"] = [DELIMITERS[value] for value in node["enum"]]
        for constant in (node, *(member for member in node.get("anyOf", ()) if isinstance(member, dict))):
            if "const" in constant and (constant is not node or isinstance(node["const"], int)):
                constant["enum"] = [constant.pop("const")]
        for child in node.values():
            _adapt_to_generators(child)
    elif isinstance(node, list):
        for child in node:
            _adapt_to_generators(child)
