"""Which status an error has, and the handlers that an application installs."""

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from app.problems.response import problem_response
from app.problems.validation import InvalidJson, explain_request
from core import errors
from core.db.session import is_unavailable

log = structlog.get_logger(__name__)

STATUS: dict[type[errors.ServiceError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidSpec: 422,
    errors.InvalidImage: 422,
    errors.UnsupportedImage: 415,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.TooManyRequests: 429,
    errors.NotReady: 503,
    errors.Overloaded: 503,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.StorageFull: 507,
    errors.PredictionFailed: 502,
}
RETRY_AFTER_S = {errors.NotReady: 1, errors.Overloaded: 1, errors.Unavailable: 2, errors.DatasetNotReady: 2}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
HTTP_SLUGS = {
    400: ("malformed-request", "The request cannot be read"),
    404: ("not-found", "No such thing, or not yours"),
    405: ("method-not-allowed", "The path does not know this method"),
    406: ("not-acceptable", "No such form of the answer"),
    413: ("too-large", "The request is larger than allowed"),
    415: ("unsupported-media-type", "The body's media type is not accepted"),
    422: ("invalid-request", "The request is not of the documented form"),
    499: ("client-left", "The client has left before it was answered"),
    416: ("range-not-satisfiable", "The range lies outside the file"),
}


def status_of(error: type[errors.ServiceError]) -> int:
    """The status of the nearest ancestor that has one."""
    return next((STATUS[cls] for cls in error.__mro__ if cls in STATUS), 500)


def install(app: FastAPI) -> None:
    """Let every error leave `app` as a problem."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, _bug)


def to_response(request: Request, error: Exception) -> Response | None:
    """The answer to an error, as an application with these handlers gives it; None for a bug."""
    handler = next((HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS), None)
    return None if handler is None else handler(request, error)


def _service_error(request: Request, error: Exception) -> Response:
    error = cast("errors.ServiceError", error)
    status = status_of(type(error))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("http.service_error", slug=error.slug, detail=error.detail, facts=error.facts)
    facts, headers = dict(error.facts), _headers_of(error)
    if "Retry-After" in headers:
        facts.pop("retry_after_s", None)
    pairs = error.errors if isinstance(error, errors.InvalidSpec) else []
    return problem_response(
        request, status, error.slug, error.title, error.detail, errors=pairs, facts=facts, headers=headers
    )


def _headers_of(error: errors.ServiceError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if error.facts.get("state") == "failed":  # waiting does not help
        return {}
    usual = (seconds for cls, seconds in RETRY_AFTER_S.items() if cls in type(error).__mro__)
    wait_s = error.facts.get("retry_after_s") or next(usual, None)
    return {"Retry-After": str(math.ceil(wait_s))} if wait_s is not None else {}


def _invalid_request(request: Request, error: Exception) -> Response:
    error = cast("RequestValidationError", error)
    status, slug, detail, pairs = explain_request(request, error)
    title = "The request is not of the documented form" if status == 422 else "The request cannot be read"
    return problem_response(request, status, slug, title, detail, errors=pairs)


def _http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    slug, title = HTTP_SLUGS.get(error.status_code) or ("http-error", HTTPStatus(error.status_code).phrase)
    headers: Mapping[str, str] = error.headers or {}
    detail = str(error.detail)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(allowed_methods(request))}
        detail = f"{request.method} is not among the methods of this path: {headers['Allow']}."
    elif error.status_code == HTTPStatus.NOT_FOUND and detail == "Not Found":
        detail = "There is nothing at this path."
    pairs = [(error.pointer, detail)] if isinstance(error, InvalidJson) else []
    return problem_response(request, error.status_code, slug, title, detail, errors=pairs, headers=headers)


def allowed_methods(request: Request) -> list[str]:
    """Every method that some route of this path answers, not only the first route's."""
    routes: list[Any] = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _database_error(request: Request, error: Exception) -> Response:
    if not is_unavailable(error):
        log.exception("http.database_bug", exc_info=error)
        return _bug(request, error)
    log.warning("http.database_unavailable", error=str(getattr(error, "orig", error)))
    return _service_error(request, errors.Unavailable("The database does not answer just now; try again."))


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    errors.ServiceError: _service_error,
    RequestValidationError: _invalid_request,
    HTTPException: _http_error,
    SQLAlchemyError: _database_error,
}


def _bug(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("http.bug", request_id=request_id, error=repr(error))
    detail = f"A bug of ours, logged as request {request_id}."
    bug = errors.ServiceError
    headers = {"X-Request-ID": request_id} if request_id else {}
    return problem_response(
        request, 500, bug.slug, bug.title, detail, facts={"request_id": request_id}, headers=headers
    )
