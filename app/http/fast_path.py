"""Handles prediction requests before the router, to avoid the overhead of FastAPI routes."""

import operator
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class FastRoute(NamedTuple):
    """A route that is matched before the application's router.

    Attributes:
        path: the path template of the documented route, for logs and metrics.
        pattern: matches the whole path; its named groups are the path parameters.
        endpoint: handles the request.
        handle_error: converts an exception to a response; returns None for unexpected exceptions.
        accepts_query: returns whether the endpoint can parse a query string. Default: only the empty one.
    """

    path: str
    pattern: re.Pattern[str]
    endpoint: Callable[[Request], Awaitable[Response]]
    handle_error: Callable[[Request, Exception], Response | None]
    accepts_query: Callable[[bytes], bool] = operator.not_


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
        """Return the fast route of a request, or None. Store the route and its path parameters in the scope."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is not None and route.accepts_query(scope["query_string"]):
                scope["route"], scope["path_params"] = route, match.groupdict()
                return route
        return None
