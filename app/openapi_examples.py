"""Completes the OpenAPI document with an example for every response, composed from the examples of its fields."""

from collections.abc import Mapping
from typing import Any

from app.problems.exception_handlers import HTTP_PROBLEMS, STATUS
from core import errors
from core.spec import JobSpec

Schema = Mapping[str, Any]

JOB_ID = "8fefbfb6594de45a9a0d2b6c1c3f5e77"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
TIME = "2026-01-01T12:00:00Z"
SPEC = JobSpec.model_validate({"dataset": {"name": "digits"}, "architecture": {"name": "convnet"}})
BY_SCHEMA: dict[str, Any] = {"ResolvedJobSpec": SPEC.model_dump(mode="json")}
"""Examples of whole schemas, which replace examples that would be composed."""
BY_NAME: dict[str, Any] = {
    "id": JOB_ID,
    "job_id": JOB_ID,
    "job": JOB_ID,
    "parent_id": JOB_ID,
    "sha256": SHA256,
    "content_hash": SHA256,
    "name": "digits",
    "dataset": "digits",
    "model": "digits",
    "version": 1,
    "base_version": 1,
    "base_name": "digits",
    "kind": "train",
    "split": "valid",
    "splits": {},
    "classes": ["cat", "dog"],
    "class": "cat",
    "label": "cat",
    "labels": ["cat"],
    "targets": ["species"],
    "columns": [],
    "metric": "accuracy",
    "metrics": {"valid_accuracy": 0.97, "valid_loss": 0.11},
    "best_values": {"valid_accuracy": {"value": 0.97, "epoch": 3}},
    "epoch": 3,
    "epochs": 10,
    "step": 168,
    "steps": 560,
    "value": 0.97,
    "probability": 0.98,
    "size_bytes": 2632,
    "num_samples": 1797,
    "code": "invalid-picture",
    "message": "The training has started.",
    "detail": "The image is truncated.",
    "hint": "Send the whole file.",
    "location": "/v1/datasets/digits/versions/1",
    "host": "worker-1",
    "device": "cpu",
    "devices": ["cpu"],
    "versions": {"python": "3.11.7"},
    "file": "network.onnx",
    "files": {},
    "facts": {},
    "options": {},
    "environment": {},
    "tags": [],
    "image_shape": [1, 8, 8],
    "mean": [0.5],
    "std": [0.25],
    "reason": "submitted",
    "summary": "A convolutional network.",
    "source": "LeCun et al., 1989.",
}
"""Examples of properties by name. Each is used where its type fits the schema."""
NULL_PROPERTIES = frozenset(
    "next_cursor failure problem error pending_reason stop_request awaited_dataset waits_for parent_id edit variant "
    "resume_from init_from weight_bits calibration_samples table rows weight window".split()
)
"""Properties that are null in most responses."""
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
TEXTS = {"date-time": TIME, "binary": "(the bytes of the file)"}
MAX_DEPTH = 12
PROBLEMS: dict[int, tuple[str, str, str]] = {
    400: (*HTTP_PROBLEMS[400], "The body is not valid JSON: Expecting value at character 0."),
    401: (errors.Unauthorized.slug, errors.Unauthorized.title, "The API key is missing or wrong."),
    403: (errors.CrossOrigin.slug, errors.CrossOrigin.title, "Origin: POST is accepted from pages of localhost:8000."),
    404: (errors.NotFound.slug, errors.NotFound.title, "Job 8fefbfb6594de45a9a0d2b6c1c3f5e77 does not exist."),
    409: (errors.Conflict.slug, errors.Conflict.title, "The job is succeeded; it must be running."),
    410: (errors.UploadGone.slug, errors.UploadGone.title, "The file was rejected: it is not an archive."),
    412: (errors.UnsupportedVersion.slug, errors.UnsupportedVersion.title, "Tus-Resumable: must be 1.0.0; got none."),
    413: (errors.TooLarge.slug, errors.TooLarge.title, "The body is larger than 1048576 bytes."),
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

    def compose(self, schema: Schema, name: str = "", depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """Return an example. `name` is the name of the property that has the schema."""
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
        return self._compose_type(schema, name, depth)

    def _compose_component(self, component: str, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if component in BY_SCHEMA:
            return BY_SCHEMA[component]
        return self.compose(self._components[component], name, depth)

    def _compose_member(self, members: list[Schema], name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        is_nullable = any(member.get("type") == "null" for member in members)
        if is_nullable and (name in NULL_PROPERTIES or depth > MAX_DEPTH):
            return None
        return self.compose(next(member for member in members if member.get("type") != "null"), name, depth)

    def _compose_type(self, schema: Schema, name: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        kinds = schema.get("type", "object" if "properties" in schema else "null")
        kind = kinds[0] if isinstance(kinds, list) else kinds
        if "properties" in schema:
            return {key: self.compose(field, key, depth + 1) for key, field in schema["properties"].items()}
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
