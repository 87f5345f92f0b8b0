"""JSON responses with an ETag, so that a client that polls gets a 304 while nothing has changed."""

import hashlib
from typing import Any

import orjson
from fastapi.responses import Response
from starlette.requests import Request

UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The response is unchanged: `If-None-Match` contains its ETag."}
}
"""The `responses` of an endpoint that calls `build_json_response`."""


def build_json_response(request: Request, content: Any, *, version: Any = None) -> Response:  # noqa: ANN401 - any JSON value, or numpy arrays
    """Return a JSON response, or a 304 if the client has the same one. NaN in arrays of numpy becomes null.

    The ETag is weak, because the body may be compressed.

    Args:
        request: the request.
        content: the JSON value of the response.
        version: the part of the content that the ETag depends on. Default: the content.
    """
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return send_json(request, body, compute_etag(body if version is None else orjson.dumps(version)))


def compute_etag(compared: bytes) -> str:
    """Return a weak ETag of some bytes."""
    return f'W/"{hashlib.sha256(compared).hexdigest()[:32]}"'


def send_json(request: Request, body: bytes, etag: str) -> Response:
    """Return a response with JSON that has been serialized, or a 304 if the client has the same one."""
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    previous = request.headers.get("if-none-match", "")
    if etag in previous or previous == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
