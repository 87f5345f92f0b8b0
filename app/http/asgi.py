"""Functions that read a header or the whole body of an ASGI request."""

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope


def get_header(scope: Scope, name: bytes) -> str | None:
    """Return the value of the first header with this name, or None. The name must be in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def get_media_type(scope: Scope) -> str:
    """Return the content type in lower case and without parameters, or an empty string if the header is absent."""
    return (get_header(scope, b"content-type") or "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the body of a request. Call this function only once per request: unlike `Request.body`, it has no cache.

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
