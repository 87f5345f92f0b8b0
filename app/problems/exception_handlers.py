"""Maps every error class to an HTTP status, and defines the exception handlers of the application."""

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import cast

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.problems.allowed_methods import find_similar_path, list_allowed_methods
from app.problems.response import build_problem
from app.problems.validation import InvalidJson, parse_validation_error
from core import errors
from core.db.damage import is_database_damaged
from core.db.session import is_database_unavailable

log = structlog.get_logger(__name__)

STATUS: dict[type[errors.ServiceError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidSpec: 422,
    errors.InvalidImage: 422,
    errors.UnsupportedImage: 415,
    errors.UploadLocked: 423,
    errors.UploadGone: 410,
    errors.ChecksumMismatch: 460,  # not in RFC 9110, but required by the tus protocol
    errors.UnsupportedVersion: 412,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.HostNotAllowed: 403,
    errors.CrossOrigin: 403,
    errors.TooManyRequests: 429,
    errors.NotReady: 503,
    errors.Overloaded: 503,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.StorageFull: 507,
    errors.PredictionFailed: 502,
}
RETRY_AFTER_S = {
    errors.NotReady: 1,
    errors.Overloaded: 1,
    errors.Unavailable: 2,
    errors.DatasetNotReady: 2,
    errors.UploadLocked: 1,
}
HTTP_PROBLEMS = {
    400: ("malformed-request", "Malformed request"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    406: ("not-acceptable", "Not acceptable"),
    408: ("request-timeout", "Request timeout"),
    413: ("too-large", "Content too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    416: ("range-not-satisfiable", "Range not satisfiable"),
    422: ("invalid-request", "Invalid request"),
    431: ("header-fields-too-large", "Request header fields too large"),
    499: ("client-left", "Client disconnected"),
    503: (errors.Overloaded.slug, errors.Overloaded.title),
}
"""Slug and title of HTTP errors that are not a ServiceError, keyed by status."""


def get_status(error: type[errors.ServiceError]) -> int:
    """Return the HTTP status of an error class or of its nearest base class in `STATUS`. Default: 500."""
    return next((STATUS[cls] for cls in error.__mro__ if cls in STATUS), 500)


def install_handlers(app: FastAPI) -> None:
    """Install the exception handlers, which convert every exception to a problem response."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def build_error_response(request: Request, error: Exception) -> Response | None:
    """Return the response of the installed handlers for an error, or None for an unexpected error."""
    handler = next((HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS), None)
    return None if handler is None else handler(request, error)


def _handle_service_error(request: Request, error: Exception) -> Response:
    error = cast("errors.ServiceError", error)
    status = get_status(type(error))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request.failed", slug=error.slug, detail=error.detail, extra=error.extra)
    extra, headers = dict(error.extra), _build_headers(error)
    if "Retry-After" in headers:
        extra.pop("retry_after_s", None)
    pairs = error.errors if isinstance(error, errors.InvalidSpec) else []
    return build_problem(
        request, status, error.slug, error.title, error.detail, errors=pairs, extra=extra, headers=headers
    )


def _build_headers(error: errors.ServiceError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if error.extra.get("state") == "failed":  # a retry fails again: send no Retry-After
        return {}
    default = (seconds for cls, seconds in RETRY_AFTER_S.items() if cls in type(error).__mro__)
    wait_s = error.extra.get("retry_after_s") or next(default, None)
    return {"Retry-After": str(math.ceil(wait_s))} if wait_s is not None else {}


def _handle_validation_error(request: Request, error: Exception) -> Response:
    parsed = parse_validation_error(request, cast("RequestValidationError", error))
    extra = {"num_errors": parsed.num_errors} if parsed.num_errors > len(parsed.errors) else {}
    return build_problem(
        request, parsed.status, parsed.slug, parsed.title, parsed.detail, errors=parsed.errors, extra=extra
    )


def _handle_http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    slug, title = HTTP_PROBLEMS.get(error.status_code) or ("http-error", HTTPStatus(error.status_code).phrase)
    headers: Mapping[str, str] = error.headers or {}
    detail = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(list_allowed_methods(request.app.router.routes, request.scope))}
        detail = f"This path does not support {request.method}; it supports: {headers['Allow']}."
    elif error.status_code == HTTPStatus.NOT_FOUND and detail == "Not Found":
        similar = find_similar_path(request.app.router.routes, request.scope)
        detail = f"This path does not exist; did you mean {similar}?" if similar else "This path does not exist."
    pairs = [(error.pointer, detail)] if isinstance(error, InvalidJson) else []
    return build_problem(request, error.status_code, slug, title, detail, errors=pairs, headers=headers)


def _handle_database_error(request: Request, error: Exception) -> Response:
    if is_database_damaged(error):  # the log has a line with the file and the way to recover
        return _handle_service_error(request, errors.CorruptFile("The database of the service is damaged."))
    if not is_database_unavailable(error):
        log.exception("database.query_failed", exc_info=error)
        return _handle_unexpected_error(request, error)
    log.warning("database.connection_failed", error=str(getattr(error, "orig", error)))
    return _handle_service_error(request, errors.Unavailable("The database is unavailable; try again."))


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    errors.ServiceError: _handle_service_error,
    RequestValidationError: _handle_validation_error,
    HTTPException: _handle_http_error,
    SQLAlchemyError: _handle_database_error,
}


def _handle_unexpected_error(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("request.crashed", request_id=request_id, error=repr(error))
    detail = f"An internal error occurred; the log contains it under the request id {request_id}."
    kind = errors.ServiceError
    headers = {"X-Request-ID": request_id} if request_id else {}
    return build_problem(request, 500, kind.slug, kind.title, detail, extra={"request_id": request_id}, headers=headers)
