"""Middleware that accepts the cookie of a browser session in place of an API key."""

import re
import time
from collections.abc import Callable
from datetime import timedelta

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.asgi import get_header
from app.http.host_check import is_loopback_host, parse_authority
from app.http.middleware import SESSION_KEY, is_public_path, opens_session
from app.http.origin_check import SAFE_METHODS, is_same_origin_request
from app.http.rate_limit import WRONG_KEYS, WrongKeyLimit, build_rate_refusal
from app.http.refusals import build_refusal
from app.problems import build_error_response
from app.services.browser_sessions import BrowserSession, BrowserSessions
from core.errors import CrossOrigin

log = structlog.get_logger(__name__)

LOOPBACK_COOKIE = "candela_session"
SECURE_COOKIE = "__Host-candela_session"
"""Browsers accept this name only from the host itself, over HTTPS and for all paths, so no other host can set it."""
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
MAX_COOKIE_LENGTH = 8192
RECHECK = timedelta(seconds=30)
MAX_UNKNOWN = 10_000
UNAUTHORIZED = 401
GetSessions = Callable[[Scope], BrowserSessions]


class SessionEnded(Exception):
    """The session of a request ended while its response was sent."""


class BrowserSessionMiddleware:
    """Finds the session of a request, and marks the request as one of the session's API key.

    Requests that can change something must come from a page of this service. Responses that take long, such as event
    streams, end with the session; they do not prolong it.

    Args:
        app: the next ASGI application.
        get_sessions: returns the sessions for the scope of a request.
        wrong_keys: the limit of wrong credentials of an address.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        get_sessions: GetSessions,
        wrong_keys: WrongKeyLimit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._get_sessions = get_sessions
        self._wrong_keys = wrong_keys
        self._clock = clock
        self._unknown: dict[str, None] = {}  # tokens without a session, which can never get one; the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_public_path(scope["path"]):
            await self._app(scope, receive, send)
        elif opens_session(scope):
            await self._limit_opening(scope, receive, send)
        else:
            token = None if get_header(scope, b"authorization") else get_session_token(scope)
            if token is None or token in self._unknown:
                await self._app(scope, receive, send)
            else:
                await self._use_session(token, scope, receive, send)

    async def _limit_opening(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a 401 as a wrong key: the key is in the body, which the endpoint reads."""
        if wait_s := self._wrong_keys.get_wait_s(scope, b""):
            await build_rate_refusal(scope, wait_s, WRONG_KEYS)(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == UNAUTHORIZED:
                self._wrong_keys.count_wrong(scope)
            await send(message)

        await self._app(scope, receive, send_counted)

    async def _use_session(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        if wait_s := self._wrong_keys.get_wait_s(scope, token.encode()):
            await build_rate_refusal(scope, wait_s, WRONG_KEYS)(scope, receive, send)
            return
        try:
            session = await self._get_sessions(scope).find(token)
        except SQLAlchemyError as error:
            response = build_error_response(Request(scope), error)
            if response is None:
                raise
            await response(scope, receive, send)
            return
        if session is None:
            self._remember_unknown(token, scope)
            await self._app(scope, receive, send)  # ApiKeyMiddleware rejects it
            return
        self._wrong_keys.mark_valid(scope, token.encode())
        if scope["method"] not in SAFE_METHODS and not _is_same_origin(scope):
            await _build_origin_refusal(scope)(scope, receive, send)
            return
        scope.setdefault("state", {})[SESSION_KEY] = session.key.encode()
        await self._send_until_end(token, scope, receive, send)

    def _remember_unknown(self, token: str, scope: Scope) -> None:
        self._wrong_keys.count_wrong(scope)  # once for each token: an open page may send an old cookie for hours
        if len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[token] = None

    async def _send_until_end(self, token: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application. End its response if the session ends meanwhile."""
        checked_at = self._clock()

        async def send_checked(message: Message) -> None:
            nonlocal checked_at
            if message["type"] == "http.response.body" and self._clock() - checked_at > RECHECK.total_seconds():
                checked_at = self._clock()
                if not await self._is_valid(token, scope):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise SessionEnded
            await send(message)

        try:
            await self._app(scope, receive, send_checked)
        except* SessionEnded:
            log.info("session.response_ended", path=scope["path"])

    async def _is_valid(self, token: str, scope: Scope) -> bool:
        """Return whether the session still exists. While the database is unavailable, it counts as valid."""
        try:
            session: BrowserSession | None = await self._get_sessions(scope).find(token, is_use=False)
        except SQLAlchemyError as error:
            log.warning("session.check_failed", error=str(error))
            return True
        return session is not None


def get_session_token(scope: Scope) -> str | None:
    """Return the token in the cookie of a request, or None if it has none or the cookie is malformed."""
    header = get_header(scope, b"cookie")
    if header is None or len(header) > MAX_COOKIE_LENGTH:
        return None
    token = cookie_parser(header).get(choose_cookie_name(scope))
    return token if token is not None and TOKEN.fullmatch(token) else None


def choose_cookie_name(scope: Scope) -> str:
    """Return the name of the cookie for the host of a request. Only loopback may use HTTP."""
    return SECURE_COOKIE if requires_secure_cookie(scope) else LOOPBACK_COOKIE


def requires_secure_cookie(scope: Scope) -> bool:
    """Return whether the cookie of a session must be sent over HTTPS only: on all hosts except loopback."""
    host = parse_authority(get_header(scope, b"host") or "")
    return scope.get("scheme") == "https" or host is None or not is_loopback_host(host.host)


def add_browser_sessions(app: FastAPI, get_sessions: GetSessions, wrong_keys: WrongKeyLimit, *, has_keys: bool) -> None:
    """Add the middleware if the service has API keys."""
    if has_keys:
        app.add_middleware(BrowserSessionMiddleware, get_sessions=get_sessions, wrong_keys=wrong_keys)


def _is_same_origin(scope: Scope) -> bool:
    host = parse_authority(get_header(scope, b"host") or "")
    origins, sites = (
        [str(value, "latin-1").strip() for key, value in scope["headers"] if key == name]
        for name in (b"origin", b"sec-fetch-site")
    )
    return host is not None and is_same_origin_request(origins, sites, host)


def _build_origin_refusal(scope: Scope) -> ASGIApp:
    detail = (
        f"{scope['method']} with a session cookie is accepted from pages of this service only: with "
        "Sec-Fetch-Site: same-origin, or an Origin with this host. Other clients send an API key in Authorization."
    )
    return build_refusal(scope, CrossOrigin, detail)
