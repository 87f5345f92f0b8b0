"""Exports that are sent in chunks: slots, disconnects and errors of the first chunk."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anyio import CapacityLimiter

from app.api import export_response
from app.api.export_response import ExportResponse, start_export
from core.errors import Conflict, Overloaded

Build = Callable[[], Iterator[bytes]]


def build_chunks(encoded: list[int], count: int = 5) -> Build:
    """Return a function that builds chunks. Their numbers are added to `encoded` as they are encoded."""

    def build() -> Iterator[bytes]:
        for number in range(count):
            encoded.append(number)
            yield bytes([number])

    return build


async def start(build: Build) -> ExportResponse:
    return await start_export(build, "pets-1.zip", CapacityLimiter(1))


async def send_response(response: ExportResponse, *, max_chunks: int | None = None) -> list[bytes]:
    """Run the response. The client leaves after `max_chunks` chunks."""
    received: list[bytes] = []
    has_left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            received.append(message["body"])
            if len(received) == max_chunks:
                has_left.set()
                await asyncio.Event().wait()  # the connection is blocked until the task is cancelled

    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    return received


async def test_all_chunks_are_sent() -> None:
    encoded: list[int] = []
    response = await start(build_chunks(encoded))
    assert encoded == [0], "the first chunk is encoded before the response starts"
    assert await send_response(response) == [bytes([number]) for number in range(5)]


async def test_no_chunk_is_encoded_after_the_client_left() -> None:
    encoded: list[int] = []
    response = await start(build_chunks(encoded, 1000))
    assert len(await send_response(response, max_chunks=3)) == 3
    await asyncio.sleep(0.05)
    assert len(encoded) <= 4


async def test_exports_over_the_limit_are_rejected_until_one_has_ended() -> None:
    responses = [await start(build_chunks([])) for _ in range(export_response.MAX_EXPORTS)]
    with pytest.raises(Overloaded, match="4 exports are being sent"):
        await start(build_chunks([]))
    await send_response(responses[0], max_chunks=1)
    assert len(await send_response(await start(build_chunks([])))) == 5
    for response in responses[1:]:
        await send_response(response)


async def test_an_export_that_cannot_start_frees_its_slot() -> None:
    def fail() -> Iterator[bytes]:
        raise Conflict("no PNG")

    for _ in range(export_response.MAX_EXPORTS + 1):
        with pytest.raises(Conflict):
            await start(fail)
