"""Readers of headers and bodies: they return what Starlette's own return."""

from collections.abc import Sequence

import pytest
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Scope

from app.http.asgi import get_header, get_media_type, read_body, replay_body

SCOPE: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/",
    "headers": [(b"host", b"x"), (b"content-type", b"Text/CSV ; header=present"), (b"x", b"\xe9"), (b"x", b"second")],
}


def build_request(messages: Sequence[Message]) -> Request:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    return Request(SCOPE, receive)


def build_messages(*bodies: bytes) -> list[Message]:
    return [{"type": "http.request", "body": body, "more_body": True} for body in bodies]


def test_get_header_returns_the_first_match() -> None:
    for name in ("host", "x", "missing"):
        assert get_header(SCOPE, name.encode()) == Headers(scope=SCOPE).get(name)
    assert get_header(SCOPE, b"x") == "é"


def test_a_media_type_has_no_parameters() -> None:
    assert get_media_type(SCOPE) == "text/csv"
    assert get_media_type({"headers": []}) == ""


@pytest.mark.parametrize(
    "messages",
    [[{"type": "http.request"}], [*build_messages(b"ab", b"", b"c"), {"type": "http.request", "body": b"d"}]],
)
async def test_a_body_of_several_chunks_is_joined(messages: list[Message]) -> None:
    body = await read_body(build_request(messages))
    assert body == await build_request(messages).body() == await replay_body(build_request([]), body).body()
    assert body == b"".join(message.get("body", b"") for message in messages)


async def test_a_disconnect_during_the_body_raises() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(build_request([*build_messages(b"ab"), {"type": "http.disconnect"}]))
