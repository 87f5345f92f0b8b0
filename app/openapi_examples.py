"""Completes the OpenAPI document with an example for every response, composed from the examples of its fields."""

from collections.abc import Mapping
from typing import Any

from app.http.middleware import format_size_limit
from app.problems.exception_handlers import HTTP_PROBLEMS, STATUS
from app.schemas.response_examples import BY_FIELD, BY_NAME, BY_SCHEMA, JOB_ID, NULL_PROPERTIES, TEXTS
from core import errors

Schema = Mapping[str, Any]

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
MAX_DEPTH = 12
PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: (*HTTP_PROBLEMS[400], "The body is not valid JSON: Expecting value at character 0."),
    401: (errors.Unauthorized.slug, errors.Unauthorized.title, "The API key is missing or wrong."),
    403: (errors.CrossOrigin.slug, errors.CrossOrigin.title, "Origin: POST is accepted from pages of localhost:8000."),
    404: (errors.NotFound.slug, errors.NotFound.title, f"Job {JOB_ID} does not exist."),
    409: (errors.Conflict.slug, errors.Conflict.title, "The job is succeeded; it must be running."),
    410: (errors.UploadGone.slug, errors.UploadGone.title, "The file was rejected: it is not an archive."),
    412: (errors.UnsupportedVersion.slug, errors.UnsupportedVersion.title, "Tus-Resumable: must be 1.0.0; got none."),
    413: (errors.TooLarge.slug, errors.TooLarge.title, format_size_limit(2**20)),
    415: (*HTTP_PROBLEMS[415], "The media type of the body must be application/json; got text/plain."),
    416: (*HTTP_PROBLEMS[416], "The range is outside the file of 2632 bytes."),
    422: (errors.InvalidSpec.slug, errors.InvalidSpec.title, "/epochs: must be at least 1; got 0"),
    423: (errors.UploadLocked.slug, errors.UploadLocked.title, "Another request sends bytes of this upload."),
    429: (errors.TooManyRequests.slug, errors.TooManyRequests.title, "Too many requests; try again in 1 s."),
    460: (errors.ChecksumMismatch.slug, errors.ChecksumMismatch.title, "The sha256 of the chunk is another one."),
    500: (errors.ServiceError.slug, errors.ServiceError.title, "Search the log for the request id."),
    502: (errors.PredictionFailed.slug, errors.PredictionFailed.title, "The network returned NaN for this image."),
    503: (errors.Overloaded.slug, errors.Overloaded.title, "Too many predictions are waiting."),
    504: (errors.DeadlineExceeded.slug, errors.DeadlineExceeded.title, "The timeout of 0.5 s has passed."),
    507: (errors.StorageFull.slug, errors.StorageFull.title, "The storage has no space left for this upload."),
}
"""The slug, title and detail of an example for each status."""


def build_problem_example(status: int) -> dict[str, Any]:
    """Return an example of a problem with this status."""
    slug, title, detail = PROBLEMS[status]
    pointer, _, reason = detail.partition(": ")
    found = [{"pointer": pointer, "detail": reason}] if status == STATUS[errors.InvalidSpec] else []
    problem = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
    return problem | {"instance": f"/v1/jobs/{JOB_ID}", "errors": found, "facts": {}}


class ExampleComposer:
    """Composes an example of a schema from the examples, defaults and types of its parts."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        """Initialize with the schemas of the document, by name."""
        self._components = components

    def compose(self, schema: Schema, name: str = "", depth: int = 0, component: str = "") -> Any:  # noqa: ANN401
        """Return an example, which is any JSON value.

        Args:
            schema: the schema.
            name: the name of the property that has the schema.
            depth: the number of properties and items around it.
            component: the name of the schema in the document, if it has one.
        """
        if "$ref" in schema:
            return self._compose_component(schema["$ref"].rsplit("/", 1)[-1], name, depth)
        if "example" in schema or schema.get("examples"):
            return schema["example"] if "example" in schema else schema["examples"][0]
        for key in ("const", "default"):
            if key in schema:
                return schema[key]
        members = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if members:
            return self._compose_member(members, name, depth)
        if "enum" in schema:
            return schema["enum"][0]
        if "properties" in schema:
            return {
                key: BY_FIELD[f"{component}.{key}"]
                if f"{component}.{key}" in BY_FIELD
                else self.compose(field, key, depth + 1)
                for key, field in schema["properties"].items()
            }
        return self._compose_type(schema, name, depth)

    def _compose_component(self, component: str, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if component in BY_SCHEMA:
            return BY_SCHEMA[component]
        return self.compose(self._components[component], name, depth, component)

    def _compose_member(self, members: list[Schema], name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        is_nullable = any(member.get("type") == "null" for member in members)
        if is_nullable and (name in NULL_PROPERTIES or depth > MAX_DEPTH):
            return None
        return self.compose(next(member for member in members if member.get("type") != "null"), name, depth)

    def _compose_type(self, schema: Schema, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        kinds = schema.get("type", "object" if "properties" in schema else "null")
        kind = kinds[0] if isinstance(kinds, list) else kinds
        if name in BY_NAME and type(BY_NAME[name]) in TYPES[kind] and self._fits_items(BY_NAME[name], schema):
            return BY_NAME[name]
        match kind:
            case "array":
                items = schema.get("items")
                return [self.compose(items, "", depth + 1)] if items and depth <= MAX_DEPTH else []
            case "object":
                return {}
            case "string":
                return TEXTS.get(schema.get("format", ""), "text")
            case "integer":
                return schema.get("minimum", 1)
            case "number":
                return 0.5
            case "boolean":
                return False
            case _:
                return None

    def _fits_items(self, example: Any, schema: Schema) -> bool:  # noqa: ANN401 - any JSON value
        """Return whether an example of an array or object has the types of its items."""
        items = schema.get("items") or schema.get("additionalProperties")
        if not isinstance(example, list | dict) or not isinstance(items, dict) or not example:
            return True
        if "$ref" in items:
            return isinstance(example, dict)
        kinds = {member.get("type") for member in (items, *items.get("anyOf", ()))}
        values = example if isinstance(example, list) else list(example.values())
        return all(any(type(value) in TYPES.get(str(kind), ()) for kind in kinds) for value in values)
