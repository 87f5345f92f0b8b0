"""Middleware that responds to HEAD and OPTIONS for every route, and completes `Allow`.

Source: RFC 9110, 9.3.2, 9.3.7 and 15.5.6.
"""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.asgi import get_header
from app.problems.allowed_methods import METHODS, has_route, list_allowed_methods

RANGE_HEADERS = frozenset({b"range", b"if-range"})  # defined for GET only
OVERRIDE_PATH = "/v1/uploads/"
OVERRIDING_METHODS = frozenset({"PATCH", "DELETE"})
NUM_LOOP_TURNS = 3  # of the event loop, for a response to notice the end of a HEAD request before its body starts


class MethodsMiddleware:
    """Responds to HEAD like to GET without the body, and to OPTIONS with the methods of the path.

    Endpoints of the methods HEAD and OPTIONS respond themselves. A POST to an upload can have the method PATCH or
    DELETE in `X-HTTP-Method-Override`, as the tus protocol requires: some proxies reject PATCH. A GET cannot, because
    checks of the origin do not apply to it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "POST" and scope["path"].startswith(OVERRIDE_PATH):
            _override_method(scope)
        if scope["method"] in ("HEAD", "OPTIONS") and has_route(scope["app"].router.routes, scope):
            await self._app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._respond_to_head(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (allowed := self._list_methods(scope)):
            await Response(status_code=204, headers={"Allow": ", ".join(allowed)})(scope, receive, send)
        else:
            await self._app(scope, receive, _complete_allow(scope, send))

    def _list_methods(self, scope: Scope) -> list[str]:
        return list(METHODS) if scope["path"] == "*" else list_allowed_methods(scope["app"].router.routes, scope)

    async def _respond_to_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the GET endpoint, send the head of its response, and then report that the client has disconnected.

        Responses that stream a file or events stop at this report.
        """
        headers = [header for header in scope["headers"] if header[0] not in RANGE_HEADERS]
        get_scope: Scope = {**scope, "method": "GET", "headers": headers}
        is_complete, has_body = asyncio.Event(), True

        async def receive_until_complete() -> Message:
            nonlocal has_body
            if has_body and not is_complete.is_set():
                message = await receive()
                has_body = bool(message.get("more_body"))
                return message
            await is_complete.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if is_complete.is_set():
                return
            if "route" in get_scope:
                scope["route"] = get_scope["route"]  # for logs and metrics
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            is_complete.set()
            for _ in range(NUM_LOOP_TURNS):
                await asyncio.sleep(0)

        await self._app(get_scope, receive_until_complete, _complete_allow(scope, send_head))


def _override_method(scope: Scope) -> None:
    method = (get_header(scope, b"x-http-method-override") or "").upper()
    if method in OVERRIDING_METHODS:
        scope["method"] = method


def _complete_allow(scope: Scope, send: Send) -> Send:
    """Return a `send` that sets `Allow` of a 405: routers list only the methods of one route."""
    app: Any = scope["app"]  # a sub-application replaces it

    async def send_with_allow(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 405:
            allow = ", ".join(list_allowed_methods(app.router.routes, scope)).encode()
            others = [header for header in message.get("headers", ()) if header[0].lower() != b"allow"]
            message["headers"] = [*others, (b"allow", allow)]
        await send(message)

    return send_with_allow
