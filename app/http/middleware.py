"""What happens to every request before a route is looked up: id, log, measure, host, key and size of the body."""

import hmac
import itertools
import re
import secrets
import time
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus

import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import metrics
from app.http.asgi import header
from app.problems import problem_response
from core import errors
from core.logging import REQUEST, write_info

log = structlog.get_logger(__name__)

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN_PATHS = frozenset(
    {"/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
)
OPEN_PREFIXES = ("/static-offline-docs/",)
HTML_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_OF_PROCESS, _NUMBERS = secrets.token_hex(12), itertools.count()


class RequestContextMiddleware:
    """Give the request an id, log one line when it was answered, and count it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given and REQUEST_ID.fullmatch(given) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 500, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, request_id)
            await send(message)

        trace = trace_of(header(scope, b"traceparent"))
        before = REQUEST.set({"request_id": request_id, **trace})
        try:
            await self._app(scope, receive, answer)
        finally:
            _record(scope, status, time.perf_counter() - started)
            REQUEST.reset(before)


def new_request_id() -> str:
    """32 hexadecimal digits that no other request has: the process's own, and a number."""
    return f"{_OF_PROCESS}{next(_NUMBERS):08x}"


def trace_of(traceparent: str | None) -> dict[str, str]:
    """The caller's trace and span, for every line of the log; nothing of a header that is none. Source: W3C."""
    match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return {"trace_id": match[1], "parent_span_id": match[2]} if match else {}


def _add_headers(message: Message, request_id: str) -> None:
    added = [(b"x-request-id", request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]
    headers = list(message.get("headers", ()))
    if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        added += HTML_HEADERS
    message["headers"] = headers + added


def _record(scope: Scope, status: int, seconds: float) -> None:
    template = route_template(scope)
    requests, latency = _meters(scope["method"], template, str(status))
    requests.inc()
    latency.observe(seconds)
    if not scope["path"].startswith(("/health/", "/metrics")):
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "route": template,
            "status": status,
            "milliseconds": round(seconds * 1e3, 1),
            "client": (scope.get("client") or ("", 0))[0],
        }
        write_info(log, "http.answered", fields)


@cache  # as many as there are series: methods, templates and statuses are few
def _meters(method: str, template: str, status: str) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(method, template, status), metrics.LATENCY.labels(method, template)


def route_template(scope: Scope) -> str:
    """`/v1/jobs/{job_id}`: never the path itself, of which there is no end."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


class RequireHostMiddleware:
    """Refuse what no HTTP/1.1 client sends: a request without a Host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not header(scope, b"host"):
            refusal = problem_response(
                Request(scope), 400, "malformed-request", "The request cannot be read", "Host is missing."
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class ApiKeyMiddleware:
    """Refuse whoever has no key, before a byte of the body is read; without keys everybody is let in."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._keys or is_open(scope["path"]) or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = errors.Unauthorized
        detail = "Send one of the service's keys as `Authorization: Bearer <key>`."
        headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
        await problem_response(Request(scope), 401, error.slug, error.title, detail, headers=headers)(
            scope, receive, send
        )

    def _has_key(self, scope: Scope) -> bool:
        scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
        sent = given.strip().encode("latin-1", "replace")
        # All keys are compared, in constant time: the answer's delay tells nothing of them.
        matches = [hmac.compare_digest(sent, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(matches)


def is_open(path: str) -> bool:
    """Whether a path needs no key: health and the documentation."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


class BodySizeLimitMiddleware:
    """Count the bytes of a body as they come and stop at the limit of its path, declared or not."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        declared = header(scope, b"content-length") or "0"
        if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > limit:
            await self._refuse(scope, limit)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # An HTTPException passes through FastAPI's reading of the body; all else would become a 400.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(limit), {"Connection": "close"})
            return message

        await self._app(scope, counted, send)

    def _refuse(self, scope: Scope, limit: int) -> ASGIApp:
        error = errors.TooLarge
        facts = {"limit_bytes": limit}
        return problem_response(
            Request(scope), 413, error.slug, error.title, too_large(limit), facts=facts, headers={"Connection": "close"}
        )


def too_large(limit: int) -> str:
    return f"A body of this path has at most {limit} bytes."
