"""Lists the methods that a path supports, for `Allow` headers, and finds the path that an unknown one means."""

from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Match
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ROUTED_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def list_allowed_methods(routes: Sequence[Any], scope: Scope) -> list[str]:
    """Return the methods of the first route or router that matches the path; empty if there is none.

    HEAD is supported wherever GET is, and OPTIONS on every path. Later routers do not count: `/v1/jobs/compare` also
    matches `/v1/jobs/{job_id}`, but is not a job.
    """
    first = [route for route in routes if route.matches(dict(scope))[0] is not Match.NONE][:1]
    found = {method for method in ROUTED_METHODS if has_route(first, {**scope, "method": method})}
    if not found:
        return []
    found |= {"OPTIONS", "HEAD"} if "GET" in found else {"OPTIONS"}
    return [method for method in METHODS if method in found]


def find_similar_path(routes: Sequence[Any], scope: Scope) -> str | None:
    """Return the path without a slash at the end, or below /v1, if it exists; else None."""
    short = scope["path"].rstrip("/")
    for path in (short, f"/v1{short}"):
        if short and path != scope["path"] and list_allowed_methods(routes, {**scope, "path": path}):
            return path
    return None


def has_route(routes: Sequence[Any], scope: Scope) -> bool:
    """Return whether a route handles the path and the method of the request."""
    for route in routes:
        match, child_scope = route.matches(dict(scope))
        if match is not Match.FULL:
            continue
        inner = getattr(route, "app", None)
        if isinstance(inner, Starlette):  # a sub-application matches every method
            return has_route(inner.router.routes, {**scope, **child_scope})
        return not isinstance(inner, StaticFiles) or scope["method"] == "GET"
    return False
