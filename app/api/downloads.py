"""File responses with an ETag (the file's sha256) and support for one byte range."""

import re
from pathlib import Path
from typing import Any, Protocol

from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.schemas.problems import problem_responses

ONE_RANGE = re.compile(r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{0,18})|-(?P<suffix>\d{1,18}))")
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class StoredFile(Protocol):
    """A file in the storage."""

    @property
    def path(self) -> Path: ...
    @property
    def sha256(self) -> str: ...
    @property
    def name(self) -> str: ...


def describe_file_responses(example: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` argument of an endpoint that sends a file, such as the file `example`."""
    return {
        200: {"description": f"The file, such as `{example}`.", "content": BINARY},
        206: {"description": "The requested range of the file.", "content": BINARY},
        304: {"description": "The file is unchanged: `If-None-Match` contains the file's ETag."},
        **problem_responses(404, 416, 422),
    }


def build_file_response(request: Request, file: StoredFile) -> Response:
    """Return a response with the file or the requested range, or a 304 if the client's cached copy is current."""
    etag = f'"{file.sha256}"'
    if etag in request.headers.get("if-none-match", "") or request.headers.get("if-none-match") == "*":
        return Response(status_code=304, headers={"ETag": etag})
    _check_range(request, file.path.stat().st_size)
    return FileResponse(file.path, media_type="application/octet-stream", filename=file.name, headers={"ETag": etag})


def _check_range(request: Request, size: int) -> None:
    """Raise HTTPException 416 if the requested range is outside the file.

    Remove a Range header that is invalid or has several ranges: RFC 9110 allows servers to ignore such headers.
    """
    requested = request.headers.get("range")
    if requested is None:
        return
    match = ONE_RANGE.fullmatch(requested.strip())
    if match is None or (match["last"] and int(match["last"]) < int(match["first"])):
        request.scope["headers"] = [(key, value) for key, value in request.scope["headers"] if key != b"range"]
    elif int(match["first"] or 0) >= size or match["suffix"] == "0":
        raise HTTPException(
            416,
            f"The requested range is outside the file, which has {size} bytes.",
            {"Content-Range": f"bytes */{size}"},
        )
