"""Parses a dataset from the JSON body of a request, in a thread: parsing a large body would block the event loop."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.api.strict_route import parse_json, require_json
from app.http.json_bodies import DOCUMENTS, MAX_DATA_VALUES, check_num_values
from app.problems import InvalidBody, InvalidJson
from core.datasets.ingest.inline import InlineIn, InlineUpload, build_upload
from core.errors import InvalidSpec

MAX_FIELDS = 100
INLINE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A dataset with its data as nested arrays, as for `torch.tensor`.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InlineIn"},
                "examples": {
                    "rows": {
                        "summary": "Rows of numbers, with one number per row as target",
                        "value": {
                            "name": "toy",
                            "inputs": [[0.2, -1.3, 0.5], [1.1, 0.4, -0.7], [-0.6, 0.9, 1.5]],
                            "targets": [1.7, 0.1, -2.25],
                            "task": "regression",
                        },
                    },
                    "classes": {
                        "summary": "Named columns, with classes as strings",
                        "value": {
                            "name": "toy-penguins",
                            "inputs": [[39.1, 18.7], [46.5, 17.9], [38.6, 21.2], [50.0, 19.5]],
                            "targets": ["Adelie", "Chinstrap", "Adelie", "Chinstrap"],
                            "columns": ["bill_length_mm", "bill_depth_mm"],
                            "target": ["species"],
                        },
                    },
                    "images": {
                        "summary": "Grayscale images of 2 x 2 pixels, in two classes",
                        "value": {
                            "name": "toy-images",
                            "inputs": [[[0, 255], [0, 255]], [[255, 0], [255, 0]], [[0, 254], [1, 255]]],
                            "targets": [0, 1, 0],
                        },
                    },
                },
            }
        },
    }
}


async def parse_inline_dataset(request: Request) -> tuple[str, InlineUpload]:
    """Return the name of the dataset, and its data in the form of a file upload.

    Raises:
        InvalidBody, InvalidJson: the JSON does not match the schema.
        InvalidSpec: the arrays are ragged, too large, or of the wrong type.
        TooLarge: the JSON has too many values.
        HTTPException: 400, the body is incomplete or is not JSON; 415, the media type is not JSON.
    """
    try:
        await require_json(request)
        body = await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "The body is incomplete.") from None
    return await DOCUMENTS.run(lambda: _parse_body(body))


def _parse_body(body: bytes) -> tuple[str, InlineUpload]:
    check_num_values(body, MAX_DATA_VALUES, "Upload a file to /v1/datasets/{name}/versions instead.")
    document = parse_json(body)
    if isinstance(document, dict) and len(document) > MAX_FIELDS:  # pydantic creates an error for each unknown field
        raise InvalidJson("", f"must have at most {MAX_FIELDS} fields; got {len(document)}")
    try:
        dataset = InlineIn.model_validate(document)
    except ValidationError as error:
        raise InvalidBody.from_model(error, InlineIn) from None
    return dataset.name, build_upload(dataset)


async def stream_bytes(body: bytes) -> AsyncIterator[bytes]:
    """Yield the body as one chunk, for functions that read a stream."""
    yield body


@contextmanager
def move_pointers_to_body() -> Iterator[None]:
    """Change pointers in errors of the `with` block from query parameters (`?target`) to body fields (`/target`)."""
    try:
        yield
    except InvalidSpec as error:
        error.errors = [(_replace_prefix(pointer), reason) for pointer, reason in error.errors]
        error.detail = _replace_prefix(error.detail)
        raise


def _replace_prefix(text: str) -> str:
    return f"/{text[1:]}" if text.startswith("?") else text
