"""What a request brings, read without ceremony: one header, or a body that is short enough to be held whole."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name, which is lower-case as all are in a scope; None where there is none."""
    for one, value in scope["headers"]:
        if one == name:
            return str(value, "latin-1")
    return None


def media_type(scope: Scope) -> str:
    """The content type without its parameters, lower-case; empty where there is none."""
    return (header(scope, b"content-type") or "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """What `Request.body` returns, for whoever reads it once: no generator, and nothing kept.

    Raises:
        ClientDisconnect: before it was all there.
    """
    pieces: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def replay_body(request: Request, body: bytes) -> Request:
    """The request as if its body, which has been read, were still to come."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
