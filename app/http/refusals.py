"""Builds the responses of middleware that rejects a request before its body is read."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from app.http.asgi import get_header
from app.problems import ProblemResponse, build_problem, get_status
from core.errors import ServiceError

MALFORMED = ("malformed-request", "Malformed request")


def build_refusal(
    scope: Scope,
    error: type[ServiceError],
    detail: str,
    *,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Return the problem of an error class. Close the connection if the request has a body, because it is not read."""
    return build_problem(
        Request(scope),
        get_status(error),
        error.slug,
        error.title,
        detail,
        extra=extra,
        headers={**(headers or {}), **build_close_header(scope)},
    )


def build_malformed_response(scope: Scope, detail: str) -> ProblemResponse:
    """Return the problem of a request that is not valid HTTP."""
    return build_problem(Request(scope), 400, *MALFORMED, detail, headers=build_close_header(scope))


def has_body(scope: Scope) -> bool:
    """Return whether the request announces a body."""
    return get_header(scope, b"transfer-encoding") is not None or get_header(scope, b"content-length") not in (
        None,
        "0",
    )


def build_close_header(scope: Scope) -> dict[str, str]:
    """Return the header that closes the connection after a response, if the request has a body that is not read."""
    return {"Connection": "close"} if has_body(scope) else {}
