"""File responses with an ETag (the file's sha256) and support for one byte range."""

from pathlib import Path
from typing import Any, Protocol

from fastapi.responses import Response
from starlette.requests import Request

from app.http.byte_ranges import InvalidRange, RangeResponse, select_range
from app.schemas.problems import problem_responses

DATA: dict[str, Any] = {
    "application/json": {"schema": {}, "example": {"accuracy": 0.97}},
    "application/x-ndjson": {"schema": {"type": "string"}},
    "text/csv": {"schema": {"type": "string"}},
}
BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class StoredFile(Protocol):
    """A file in the storage."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def name(self) -> str: ...


def describe_file_responses(example: str, *, has_data: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of an endpoint that sends a file, such as the file `example`.

    With `has_data`, CSV, JSON and JSON lines are sent with their own types.
    """
    content = BINARY | DATA if has_data else BINARY
    return {
        200: {"description": f"The file, such as `{example}`.", "content": content},
        206: {"description": "The requested range of the file.", "content": content},
        304: {"description": "The file is unchanged: `If-None-Match` contains the file's ETag."},
        **problem_responses(404, 416, 422),
    }


def build_file_response(request: Request, file: StoredFile, media_type: str = "application/octet-stream") -> Response:
    """Return a response with the file or the requested range, or a 304 if the client's cached copy is current.

    An invalid range is ignored, as RFC 9110 allows, so that a client that resumes downloads gets the whole file.

    Args:
        request: the request.
        file: the file.
        media_type: the media type of the response. A browser must not run such a file.

    Raises:
        HTTPException: 416, the range is outside the file.
    """
    etag = f'"{file.sha256}"'
    if etag in request.headers.get("if-none-match", "") or request.headers.get("if-none-match") == "*":
        return Response(status_code=304, headers={"ETag": etag})
    try:
        byte_range = select_range(request.headers, file.path.stat().st_size, etag)
    except InvalidRange:
        byte_range = None
    return RangeResponse(
        file.path,
        byte_range=byte_range,
        media_type=media_type,
        filename=file.name,
        headers={"ETag": etag},
    )


def build_image_response(request: Request, path: Path) -> Response:
    """Return a response with a PNG file or the requested range.

    Raises:
        HTTPException: 416, the range is invalid or outside the file.
    """
    response = RangeResponse(path, media_type="image/png", stat_result=path.stat())
    response.byte_range = select_range(request.headers, path.stat().st_size, response.headers["etag"])
    return response
