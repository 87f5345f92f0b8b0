"""A dataset in the body of a request, as JSON: read strictly, beside the event loop since it may be long."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from anyio.to_thread import run_sync
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.api.strict_route import parse_json, require_json
from core.datasets.ingest.inline import InlineIn, InlineUpload, build_upload
from core.errors import InvalidSpec

INLINE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Nested lists, as one would give them to `torch.tensor`.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InlineIn"},
                "examples": {
                    "rows": {
                        "summary": "Rows of numbers, and a number to predict of each",
                        "value": {
                            "name": "toy",
                            "inputs": [[0.2, -1.3, 0.5], [1.1, 0.4, -0.7], [-0.6, 0.9, 1.5]],
                            "targets": [1.7, 0.1, -2.25],
                            "task": "regression",
                        },
                    },
                    "classes": {
                        "summary": "Columns with names, and classes as texts",
                        "value": {
                            "name": "toy-penguins",
                            "inputs": [[39.1, 18.7], [46.5, 17.9], [38.6, 21.2], [50.0, 19.5]],
                            "targets": ["Adelie", "Chinstrap", "Adelie", "Chinstrap"],
                            "columns": ["bill_length_mm", "bill_depth_mm"],
                            "target": ["species"],
                        },
                    },
                    "pictures": {
                        "summary": "Grey pictures of 2 x 2, of two classes",
                        "value": {
                            "name": "toy-pictures",
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
    """The name of a dataset, and the file that an upload of it would be.

    Raises:
        RequestValidationError: JSON that is not as documented.
        InvalidSpec: what it holds is ragged, too much, or of the wrong kind.
        HTTPException: 400 for what cannot be read, 415 for another media type.
    """
    try:
        await require_json(request)
        body = await request.body()
    except ClientDisconnect:  # nobody reads the answer; it is no bug of ours either
        raise HTTPException(400, "The body ended too early.") from None
    return await run_sync(_parse_body, body)


def _parse_body(body: bytes) -> tuple[str, InlineUpload]:
    try:
        said = InlineIn.model_validate(parse_json(body))
    except ValidationError as error:
        found = error.errors(include_url=False)
        refusal = RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])
        refusal.schema = InlineIn.model_json_schema()  # type: ignore[attr-defined]  # FastAPI knows no body field here
        raise refusal from None
    return said.name, build_upload(said)


async def stream_bytes(body: bytes) -> AsyncIterator[bytes]:
    """Bytes as an upload of one piece."""
    yield body


@contextmanager
def move_pointers_to_body() -> Iterator[None]:
    """An option that is refused is one of the body here, where an upload has it in the query."""
    try:
        yield
    except InvalidSpec as error:
        error.errors = [(f"/{at[1:]}" if at.startswith("?") else at, why) for at, why in error.errors]
        error.detail = f"/{error.detail[1:]}" if error.detail.startswith("?") else error.detail
        raise
