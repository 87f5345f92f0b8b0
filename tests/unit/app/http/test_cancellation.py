"""Timeouts of predictions, and their cancellation when the client disconnects."""

import asyncio
import gc
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from app.http import cancellation as callers
from app.http.cancellation import cancel_on_disconnect, parse_deadline, parse_timeout
from app.problems import InvalidJson


def build_request(disconnected: asyncio.Event) -> Request:
    async def receive() -> Any:
        await disconnected.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


def build_scope(timeout: str) -> Scope:
    return {"headers": [(b"host", b"x"), (b"x-request-timeout", timeout.encode())]}


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", "inf", "3601", "1e400", "1_0", " 1", "+1", "\xb2"])
def test_an_invalid_timeout_is_rejected(text: str) -> None:
    with pytest.raises(InvalidJson, match="above 0") as refusal:
        parse_timeout(build_scope(text))
    assert refusal.value.status_code == 422


def test_a_timeout_is_in_seconds() -> None:
    assert parse_timeout(build_scope("1.5")) == 1.5
    assert parse_timeout({"headers": []}) is parse_deadline({"headers": []}) is None


async def test_a_connected_client_gets_the_result() -> None:
    for seconds in (0, 0.05):
        assert await cancel_on_disconnect(build_request(asyncio.Event()), asyncio.sleep(seconds, "done")) == "done"


async def test_an_error_of_the_work_is_raised() -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await cancel_on_disconnect(build_request(asyncio.Event()), fail())


async def test_a_disconnect_cancels_the_work() -> None:
    disconnected, stopped = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            disconnected.set()
            await asyncio.sleep(1000)
        finally:
            stopped.set()

    with pytest.raises(HTTPException) as error:
        await cancel_on_disconnect(build_request(disconnected), work())
    assert error.value.status_code == 499
    await asyncio.wait_for(stopped.wait(), 60)


async def test_watching_creates_no_reference_cycles() -> None:
    """At thousands per second, their garbage collection would pause all requests for a tenth of a second."""

    def count_watchers() -> int:
        return sum(type(each) is callers._DisconnectWatcher for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = count_watchers()
        for _ in range(3):
            await cancel_on_disconnect(build_request(asyncio.Event()), asyncio.sleep(2 * callers.WATCH_AFTER_S))
            await asyncio.sleep(0.01)  # the watcher task ends
        assert count_watchers() <= before
    finally:
        gc.enable()
