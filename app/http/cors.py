"""Cross-origin resource sharing for the named origins: Starlette's middleware with our problems."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.cancellation import TIMEOUT_HEADER
from app.http.refusals import build_refusal
from core.errors import CrossOrigin

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Inference-Header-Content-Length",
    "Last-Event-ID",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-HTTP-Method-Override",
    TIMEOUT_HEADER,
    "X-Request-Id",
)
RESPONSE_HEADERS = (
    "Accept-Encoding",
    "Candela-Label",
    "Candela-Probability",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Inference-Header-Content-Length",
    "Location",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Upload-Result",
    "X-Request-Id",
)
OK = 200


class CorsMiddleware(CORSMiddleware):
    """Permits the named origins to use the API from web pages, with a key in `Authorization` and without cookies."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await super().__call__(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            await super().__call__(scope, receive, send)
            return
        response = self.preflight_response(headers)
        if response.status_code == OK:
            await response(scope, receive, send)
            return
        detail = (
            f"{bytes(response.body).decode()}: accepted are the origins {', '.join(self.allow_origins)}, "
            f"the methods {', '.join(self.allow_methods)} and the headers {', '.join(self.allow_headers)}."
        )
        await build_refusal(scope, CrossOrigin, detail, headers={"Vary": "Origin"})(scope, receive, send)


def add_cors(app: FastAPI, origins: Sequence[str]) -> None:
    """Add the middleware if origins are named."""
    if origins:
        app.add_middleware(CorsMiddleware, origins=origins)
