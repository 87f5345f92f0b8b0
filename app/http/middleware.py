"""Middleware for all requests: request id, access log, metrics, API key and body size limit."""

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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http import metrics
from app.http.asgi import get_header
from app.http.body_budget import BodyBudget, BufferedBody
from app.http.refusals import build_refusal
from app.problems import ProblemResponse
from core import errors
from core.logging import REQUEST_FIELDS, log_info
from core.tracing import build_log_fields

log = structlog.get_logger(__name__)

MAX_LENGTH_DIGITS = 18  # of Content-Length, with leading zeros
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PUBLIC_PATHS = frozenset(
    {"/", "/docs", "/redoc", "/problems", "/openapi.json"}
    | {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
)
PUBLIC_PREFIXES = ("/static-offline-docs/", "/ui/", "/problems/")
SESSION_PATH = "/v1/session"
SESSION_KEY = "session_key"
"""The name in the scope's `state` of the API key that opened the browser session of the request."""
HTML_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
SMALL_BODY_BYTES = 256 * 2**10
"""Bodies of at most this size do not count in the budget of bodies in memory."""
_PROCESS_PREFIX, _REQUEST_NUMBERS = secrets.token_hex(12), itertools.count()


class RequestContextMiddleware:
    """Assigns the request id, writes the access log, and records the request metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client_id = get_header(scope, b"x-request-id")
        request_id = client_id if client_id and REQUEST_ID.fullmatch(client_id) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status, started_at = 500, time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                add_common_headers(message, request_id)
            await send(message)

        token = REQUEST_FIELDS.set({"request_id": request_id, **build_log_fields(get_header(scope, b"traceparent"))})
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            _record_request(scope, status, time.perf_counter() - started_at)
            REQUEST_FIELDS.reset(token)


def new_request_id() -> str:
    """Return a request id of 32 hexadecimal digits: a random prefix of this process and a counter."""
    return f"{_PROCESS_PREFIX}{next(_REQUEST_NUMBERS):08x}"


def add_common_headers(message: Message, request_id: str) -> None:
    """Add the request id and the security headers to a `http.response.start` message."""
    added = [(b"x-request-id", request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]
    headers = list(message.get("headers", ()))
    if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        present = {name for name, _ in headers}  # the dashboard has a stricter policy
        added += [header for header in HTML_HEADERS if header[0] not in present]
    message["headers"] = headers + added


def _record_request(scope: Scope, status: int, seconds: float) -> None:
    template = get_route_template(scope)
    requests, latency = _get_meters(scope["method"], template, str(status))
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
        log_info(log, "request.completed", fields)


@cache  # at most one entry per method, route template and status
def _get_meters(method: str, template: str, status: str) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(method, template, status), metrics.LATENCY.labels(method, template)


def get_route_template(scope: Scope) -> str:
    """Return the path template, such as `/v1/jobs/{job_id}`: as a metric label, it has a limited number of values."""
    return str(getattr(scope.get("route"), "path", "unmatched"))


class ApiKeyMiddleware:
    """Rejects requests without a valid API key before reading the body. Accepts all requests if no key is set.

    A request of a valid session needs no key, and neither does the request that opens one, which has it in its body.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._keys or is_public_path(scope["path"]) or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        detail = "The API key is missing or wrong; send a valid key as `Authorization: Bearer <key>`."
        headers = {"WWW-Authenticate": "Bearer"}
        await build_refusal(scope, errors.Unauthorized, detail, headers=headers)(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        return self._has_key(scope) or get_session_key(scope) in self._keys or opens_session(scope)

    def _has_key(self, scope: Scope) -> bool:
        scheme, _, credentials = (get_header(scope, b"authorization") or "").partition(" ")
        candidate = credentials.strip().encode("latin-1", "replace")
        # Compare with every key in constant time, so that the duration reveals nothing about the keys.
        matches = [hmac.compare_digest(candidate, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(matches)


def is_public_path(path: str) -> bool:
    """Return True if a path requires no API key: the paths of the health checks and of the documentation."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


def get_session_key(scope: Scope) -> bytes | None:
    """Return the API key that opened the session of a request, or None if the request has no valid session."""
    key: bytes | None = scope.get("state", {}).get(SESSION_KEY)
    return key


def opens_session(scope: Scope) -> bool:
    """Return whether a request opens a session: its API key is in the body, and the endpoint checks it."""
    return bool(scope["method"] == "POST" and scope["path"] == SESSION_PATH)


class BodySizeLimitMiddleware:
    """Rejects bodies above the size limit of their path. Checks Content-Length and counts the received bytes.

    Bodies that the application keeps in memory also share a budget. Small bodies do not count.

    Args:
        app: the next ASGI application.
        get_limit: returns the maximum size of a body for a path.
        is_streamed: returns whether the application writes the bodies for a path to a file.
        budget: the budget of large bodies in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        get_limit: Callable[[str], int],
        is_streamed: Callable[[str], bool],
        budget: BodyBudget,
    ) -> None:
        self._app = app
        self._get_limit = get_limit
        self._is_streamed = is_streamed
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._get_limit(scope["path"])
        if refusal := refuse_long_body(scope, limit):
            await refusal(scope, receive, send)
            return
        num_received = 0
        buffered: BufferedBody | None = None

        async def receive_within_limit() -> Message:
            nonlocal num_received, buffered
            message = await (receive() if buffered is None else buffered.receive(receive))
            num_received += len(message.get("body", b""))
            if num_received > limit:
                # Raise HTTPException, because FastAPI converts any other exception while it reads a body to a 400.
                detail = format_size_limit(limit)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})
            if num_received > SMALL_BODY_BYTES and buffered is None and not self._is_streamed(scope["path"]):
                buffered = self._budget.open_body()
                buffered.count(message)
            return message

        try:
            await self._app(scope, receive_within_limit, send)
        finally:
            if buffered is not None:
                buffered.close()


def refuse_long_body(scope: Scope, limit: int) -> ProblemResponse | None:
    """Return a 413 if the header Content-Length is above the limit or not a number, otherwise None."""
    length = get_header(scope, b"content-length") or "0"
    if not (length.isascii() and length.isdigit()) or len(length) > MAX_LENGTH_DIGITS or int(length) > limit:
        return build_refusal(scope, errors.TooLarge, format_size_limit(limit), extra={"limit_bytes": limit})
    return None


def format_size_limit(limit: int) -> str:
    """Return the detail of a 413 response."""
    return f"The body may have at most {limit} bytes at this path."
