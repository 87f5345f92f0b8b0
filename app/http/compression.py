"""Compresses large JSON and CSV responses of `/v1`, and the OpenAPI document, with zstd, brotli, gzip or deflate.

Predictions are requests with POST and are not compressed. Starlette's GZipMiddleware compresses on the event loop; a
response of a few megabytes would block it for tens of milliseconds. This one compresses large bodies in a thread.
"""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.asgi import get_header
from app.http.content_codings import choose_encoding, compress_body

MIN_COMPRESSIBLE_BYTES = 1024
MEDIA_TYPES = ("application/json", "text/csv")
PATHS = ("/v1/", "/openapi.json")
"""The beginnings of the paths whose responses are compressed."""


class CompressionMiddleware:
    """Compresses JSON and CSV responses of at least 1 KiB to GET requests of `PATHS`, if the client accepts it.

    Streams, such as events, and files are sent unchanged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(PATHS):
            await self._app(scope, receive, send)
            return
        encoding = choose_encoding(get_header(scope, b"accept-encoding") or "")
        start: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_compressible(message):
                start = message
                return
            if start is not None:
                head, start = start, None
                is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
                if is_complete and len(message.get("body", b"")) >= MIN_COMPRESSIBLE_BYTES:
                    message = await _compress_response(head, message, encoding)
                await send(head)
            await send(message)

        await self._app(scope, receive, send_compressed)


def _is_compressible(message: Message) -> bool:
    headers = MutableHeaders(raw=list(message.get("headers", ())))
    is_text = headers.get("content-type", "").startswith(MEDIA_TYPES)
    # A file that supports ranges is sent as it is: its ETag and its ranges refer to the bytes of the file.
    is_file = "accept-ranges" in headers or message["status"] == HTTPStatus.PARTIAL_CONTENT
    return is_text and not is_file and "content-encoding" not in headers


async def _compress_response(start: Message, message: Message, encoding: str) -> Message:
    """Return the compressed body message, and change the headers of the start message accordingly."""
    headers = MutableHeaders(raw=list(start["headers"]))
    headers.add_vary_header("Accept-Encoding")
    if encoding:
        body = await compress_body(message["body"], encoding)
        headers["Content-Encoding"], headers["Content-Length"] = encoding, str(len(body))
        message = {**message, "body": body}
    start["headers"] = headers.raw
    return message
