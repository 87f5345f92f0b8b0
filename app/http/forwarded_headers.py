"""Reads the client's address and scheme from `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware, _TrustedHosts

ANY_PEER = "*"


class ForwardedHeadersMiddleware(ProxyHeadersMiddleware):
    """uvicorn's middleware, which takes the last address that is not a trusted proxy.

    `*` trusts the peer, whatever its address, and takes the last address of the header, which the peer added. uvicorn
    would take the first, which every client can choose.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        super().__init__(app, list(proxies))  # type: ignore[arg-type]  # uvicorn has its own ASGI types
        if ANY_PEER in proxies:
            self.trusted_hosts = _AnyPeer(ANY_PEER)


class _AnyPeer(_TrustedHosts):
    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int]:
        return super().get_trusted_client_address(x_forwarded_for.rpartition(",")[2])


def add_forwarded_headers(app: FastAPI, proxies: Sequence[str]) -> None:
    """Add the middleware if proxies are trusted."""
    if proxies:
        app.add_middleware(ForwardedHeadersMiddleware, proxies=proxies)
