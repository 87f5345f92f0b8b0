"""Uploads that are checked in a thread until the client leaves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException, Request

from app.api.upload_inspection import compare_in_thread, inspect_upload
from core.datasets.archives.budget import InspectionCancelled


def make_request(*messages: str) -> Request:
    """Return a request whose connection sends messages and then stays open."""
    remaining = list(messages)

    async def receive() -> dict[str, str]:
        if not remaining:
            await asyncio.Event().wait()
        return {"type": remaining.pop(0)}

    return Request({"type": "http"}, receive)


async def test_the_result_of_the_inspection_is_returned() -> None:
    assert await inspect_upload(make_request(), lambda *, is_cancelled: "zip") == "zip"


@pytest.mark.parametrize("run", [inspect_upload, compare_in_thread])
async def test_the_inspection_of_a_client_that_left_ends_with_499(run: Any) -> None:
    def inspect(*, is_cancelled: Callable[[], bool]) -> str:
        while not is_cancelled():
            pass
        raise InspectionCancelled

    with pytest.raises(HTTPException) as raised:
        await run(make_request("http.request", "http.disconnect"), inspect)
    assert raised.value.status_code == 499
