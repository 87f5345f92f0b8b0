"""Predictions before any router is looked at: the documented endpoints without the cost of a route."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class FastRoute(NamedTuple):
    """An endpoint that is found first.

    Attributes:
        path: its template, as the documented route has it; logs and metrics name it.
        pattern: of the whole path, with its parameters as named groups.
        answer: the endpoint.
        explain: the answer to an error; None for a bug.
    """

    path: str
    pattern: re.Pattern[str]
    answer: Callable[[Request], Awaitable[Response]]
    explain: Callable[[Request, Exception], Response | None]


class FastPathMiddleware:
    """Answers what needs no validation; a query, another method or a strange name is left to the documented route."""

    def __init__(self, app: ASGIApp, endpoints: Sequence[FastRoute]) -> None:
        self._app = app
        self._endpoints = tuple(endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.find(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await found.answer(request)
        except Exception as error:  # whatever it is: what no handler knows goes on
            explained = found.explain(request, error)
            if explained is None:
                raise
            response = explained
        await response(scope, receive, send)

    def find(self, scope: Scope) -> FastRoute | None:
        """The endpoint of a request, which then stands in its scope as its route."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return None
        path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
        for endpoint in self._endpoints:
            match = endpoint.pattern.fullmatch(path)
            if match is not None:
                scope["route"], scope["path_params"] = endpoint, match.groupdict()
                return endpoint
        return None
