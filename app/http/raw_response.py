"""Encodes a problem as bytes, for requests that never reach the application."""

from http import HTTPStatus
from typing import NamedTuple

from starlette.requests import Request
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.http.middleware import add_common_headers, new_request_id
from app.problems import build_problem
from app.problems.exception_handlers import HTTP_PROBLEMS

MAX_PATH_BYTES = 500


class Refusal(NamedTuple):
    """The reason for which the server rejects what a connection has sent.

    Attributes:
        status: the HTTP status.
        slug: the identifier of the problem.
        title: the title of the problem.
        detail: what is wrong, and what is accepted.
    """

    status: HTTPStatus
    slug: str
    title: str
    detail: str


def describe_refusal(status: HTTPStatus, detail: str) -> Refusal:
    """Return the refusal for a status that `HTTP_PROBLEMS` contains."""
    return Refusal(status, *HTTP_PROBLEMS[status], detail)


def encode_refusal(refusal: Refusal, url: bytes, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the complete response, which closes the connection.

    Args:
        refusal: the reason.
        url: the request target, as far as it was received.
        default_headers: the headers that the server adds to every response.
    """
    path = url[:MAX_PATH_BYTES].partition(b"?")[0].decode("ascii", "replace")
    scope = {"type": "http", "path": path, "headers": []}
    status, slug, title, detail = refusal
    headers = {"Connection": "close"}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    response = build_problem(Request(scope), status, slug, title, detail, headers=headers)
    message: Message = {"type": "http.response.start", "headers": [*default_headers, *response.raw_headers]}
    add_common_headers(message, new_request_id())
    lines = [b"%b: %b\r\n" % header for header in message["headers"]]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(response.body)])
