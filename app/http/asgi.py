"""Readers of raw ASGI requests: one header, or a body that is short enough to be held in memory."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope


def get_header(scope: Scope, name: bytes) -> str | None:
    """Return the first header with this name, which must be in lower case, or None."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def get_media_type(scope: Scope) -> str:
    """Return the content type without its parameters, in lower case; empty if there is none."""
    return (get_header(scope, b"content-type") or "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the body as `Request.body` does, but without a generator and without caching it. Call it once.

    Raises:
        ClientDisconnect: the client disconnected before the end of the body.
    """
    chunks: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def replay_body(request: Request, body: bytes) -> Request:
    """Return a request whose body can be read again, after `read_body` has consumed it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
