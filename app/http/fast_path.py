"""Handles prediction requests before the router, to avoid the overhead of FastAPI routes."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

QUERY_KEY = "candela.fast_query"
"""The key of the scope under which the middleware stores the parsed query string."""


def parse_no_query(query: bytes) -> Mapping[str, Any] | None:
    """Accept only the empty query string."""
    return None if query else {}


class FastRoute(NamedTuple):
    """A route that is matched before the application's router.

    Attributes:
        path: the path template of the documented route, for logs and metrics.
        pattern: matches the whole path; its named groups are the path parameters.
        endpoint: handles the request.
        handle_error: converts an exception to a response; returns None for unexpected exceptions.
        parse_query: parses the query string; returns None if the router must handle the request.
    """

    path: str
    pattern: re.Pattern[str]
    endpoint: Callable[[Request], Awaitable[Response]]
    handle_error: Callable[[Request, Exception], Response | None]
    parse_query: Callable[[bytes], Mapping[str, Any] | None] = parse_no_query


class FastPathMiddleware:
    """Handles requests that match a fast route. Passes all other requests to the router."""

    def __init__(self, app: ASGIApp, routes: Sequence[FastRoute]) -> None:
        self._app = app
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.match_route(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except Exception as error:  # `handle_error` returns None for unexpected exceptions, which are re-raised
            error_response = route.handle_error(request, error)
            if error_response is None:
                raise
            response = error_response
        await response(scope, receive, send)

    def match_route(self, scope: Scope) -> FastRoute | None:
        """Return the fast route of a request, or None. Store the route and its parameters in the scope."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            query = None if match is None else route.parse_query(scope["query_string"])
            if match is not None and query is not None:
                scope["route"], scope["path_params"], scope[QUERY_KEY] = route, match.groupdict(), query
                return route
        return None
