"""Middleware that rejects requests which a foreign web page sends through a user's browser."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.host_check import HostPolicy, parse_authority
from app.http.origin_check import SAFE_METHODS, OriginPolicy
from app.http.refusals import build_malformed_response, build_refusal
from core.errors import CrossOrigin, HostNotAllowed

CHECKED_HEADERS = frozenset({b"host", b"origin", b"sec-fetch-site"})
MAX_ACCEPTED = 100
Header = tuple[bytes, bytes]


class BrowserGuardMiddleware:
    """Rejects requests for a host that is not ours, and unsafe requests of web pages that are not ours.

    Args:
        app: the next ASGI application.
        allowed_hosts: see `HostPolicy`.
        cors_origins: see `OriginPolicy`.
        has_keys: the service requires API keys.
    """

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Sequence[str], cors_origins: Sequence[str], has_keys: bool
    ) -> None:
        self._app = app
        self._hosts = HostPolicy(allowed_hosts, has_keys=has_keys)
        self._origins = OriginPolicy(cors_origins)
        self._accepted: set[Header] = set()  # Host headers that were accepted before, so that they are parsed once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            checked = [header for header in scope["headers"] if header[0] in CHECKED_HEADERS]
            if len(checked) != 1 or checked[0] not in self._accepted:
                refusal = self._check_headers(scope, checked)
                if refusal is not None:
                    await refusal(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _check_headers(self, scope: Scope, checked: Sequence[Header]) -> ASGIApp | None:
        """Return the response that rejects the request, or None if it is accepted."""
        hosts, origins, sites = (
            [str(value, "latin-1").strip() for key, value in checked if key == name]
            for name in (b"host", b"origin", b"sec-fetch-site")
        )
        if not any(hosts):
            return build_malformed_response(scope, "The Host header is missing.")
        if len(hosts) > 1:
            return build_malformed_response(scope, f"A request must have one Host header; this one has {len(hosts)}.")
        host = parse_authority(hosts[0])
        if host is None:
            return build_malformed_response(scope, f"Host: must be a host name and an optional port; got {hosts[0]!r}.")
        if not self._hosts.is_allowed(host.host):
            detail = f"Host: {hosts[0]} is not a name of this service; accepted are {self._hosts.describe()}."
            return build_refusal(scope, HostNotAllowed, detail)
        if scope["method"] not in SAFE_METHODS:
            source = self._origins.find_foreign_source(origins, sites, host)
            if source is not None:
                detail = (
                    f"{source}: {scope['method']} is accepted from pages of {hosts[0]}"
                    f"{self._origins.describe()}, and from clients that are not browsers."
                )
                return build_refusal(scope, CrossOrigin, detail)
        if len(checked) == 1 and len(self._accepted) < MAX_ACCEPTED:
            self._accepted.add(checked[0])
        return None
