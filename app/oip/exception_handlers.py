"""Maps every error of `/v2` to a status and the body `{"error": "message"}` of the protocol."""

from http import HTTPStatus
from typing import cast

import orjson
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.oip.errors import InvalidInferRequest, NotSupported
from app.problems import get_status
from core.db.repos.models import ModelNotFound
from core.db.session import is_database_unavailable
from core.errors import ServiceError

log = structlog.get_logger(__name__)

JSON = "application/json"
MAX_MESSAGE_LENGTH = 1000
UNKNOWN_MODEL = "Request for unknown model: "
"""Triton's clients and examples recognize an unknown model or version by this start of the message."""
# `/v2` does not use these statuses of `/v1`, except for 415 of a Content-Encoding. Each is replaced by the status after
# the colon.
PROTOCOL_STATUS = {409: 400, 415: 400, 422: 400, 502: 500, 504: 503}
RETRY_AFTER_S = 1


def install_handlers(app: FastAPI) -> None:
    """Add handlers for all errors to the application."""
    app.add_exception_handler(ServiceError, _handle_service_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(Exception, _handle_exception)


def to_response(request: Request, error: Exception) -> Response | None:
    """Return the response that the installed handlers create for an error; None for an unexpected exception."""
    match error:
        case ServiceError():
            return _handle_service_error(request, error)
        case HTTPException():
            return _handle_http_error(request, error)
        case _:
            return _respond_unavailable(error) if is_database_unavailable(error) else None


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """Return a response with the body `{"error": message}`."""
    text = message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[: MAX_MESSAGE_LENGTH - 1]}…"
    body = orjson.dumps({"error": text.encode("utf-8", "replace").decode()})
    return Response(body, int(status), headers, media_type=JSON)


def build_message(error: ServiceError) -> str:
    """Return the message that `/v2` sends for an error."""
    return f"{UNKNOWN_MODEL}{error.detail}" if isinstance(error, ModelNotFound) else error.detail


def to_protocol_status(error: ServiceError) -> int:
    """Return the HTTP status that `/v2` uses for an error."""
    if isinstance(error, InvalidInferRequest):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, NotSupported):
        return HTTPStatus.NOT_IMPLEMENTED
    status = get_status(type(error))
    return PROTOCOL_STATUS.get(status, status)


def _handle_service_error(_: Request, error: Exception) -> Response:
    return service_error_response(cast("ServiceError", error))


def service_error_response(error: ServiceError, prefix: str = "") -> Response:
    """Log an error with a 5xx status, and return its response. The message starts with `prefix`."""
    status = to_protocol_status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("oip.request_rejected", slug=error.slug, detail=error.detail, facts=error.extra)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(error.extra.get("retry_after_s", RETRY_AFTER_S))
    return error_response(status, prefix + build_message(error), headers)


def _handle_http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    message = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = "This path does not exist in the Open Inference Protocol."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"The method {request.method} is not allowed for this path."
    return error_response(error.status_code, message, dict(error.headers or {}))


def _handle_exception(request: Request, error: Exception) -> Response:
    if is_database_unavailable(error):
        return _respond_unavailable(error)
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("oip.request_failed", request_id=request_id, error=repr(error))
    return error_response(500, f"Internal error; the log contains the details under the request id {request_id}.")


def _respond_unavailable(error: Exception) -> Response:
    log.warning("oip.database_failed", error=str(getattr(error, "orig", error)))
    return error_response(503, "The database does not respond; try again later.", {"Retry-After": str(RETRY_AFTER_S)})
