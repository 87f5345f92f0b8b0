"""Every error of `/v2` as the protocol wants it: a status and `{"error": "one sentence"}`."""

from http import HTTPStatus
from typing import cast

import orjson
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.oip.errors import InvalidInferRequest, NotSupported
from app.problems import status_of
from core.db.session import is_unavailable
from core.errors import ServiceError

log = structlog.get_logger(__name__)

JSON = "application/json"
MAX_TEXT = 1000
# The protocol knows fewer statuses than we do: what a request got wrong is a 400, what came too late a 503.
PROTOCOL = {409: 400, 415: 400, 422: 400, 502: 500, 504: 503}
RETRY_AFTER_S = 1


def install(app: FastAPI) -> None:
    """Let every error leave `app` in the protocol's form."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _anything_else)


def explain(request: Request, error: Exception) -> Response | None:
    """The answer to an error, as an application with these handlers gives it; None for a bug."""
    match error:
        case ServiceError():
            return _service_error(request, error)
        case HTTPException():
            return _http_error(request, error)
        case _:
            return _unavailable(error) if is_unavailable(error) else None


def failure(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """`{"error": …}`."""
    text = sentence if len(sentence) <= MAX_TEXT else f"{sentence[: MAX_TEXT - 1]}…"
    body = orjson.dumps({"error": text.encode("utf-8", "replace").decode()})
    return Response(body, int(status), headers, media_type=JSON)


def status_in_protocol(error: ServiceError) -> int:
    """The status of an error of ours here."""
    if isinstance(error, InvalidInferRequest):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, NotSupported):
        return HTTPStatus.NOT_IMPLEMENTED
    status = status_of(type(error))
    return PROTOCOL.get(status, status)


def _service_error(_: Request, error: Exception) -> Response:
    error = cast("ServiceError", error)
    status = status_in_protocol(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("oip.service_error", slug=error.slug, detail=error.detail, facts=error.facts)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(error.facts.get("retry_after_s", RETRY_AFTER_S))
    return failure(status, error.detail, headers)


def _http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    sentence = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        sentence = "There is nothing at this path of the Open Inference Protocol."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        sentence = f"{request.method} is not among the methods of this path."
    return failure(error.status_code, sentence, dict(error.headers or {}))


def _anything_else(request: Request, error: Exception) -> Response:
    if is_unavailable(error):
        return _unavailable(error)
    request_id = request.scope.get("state", {}).get("request_id", "")
    log.error("oip.bug", request_id=request_id, error=repr(error))
    return failure(500, f"A bug of ours, logged as request {request_id}.")


def _unavailable(error: Exception) -> Response:
    log.warning("oip.database_unavailable", error=str(getattr(error, "orig", error)))
    return failure(503, "The database does not answer just now; try again.", {"Retry-After": str(RETRY_AFTER_S)})
