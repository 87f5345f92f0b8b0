"""Parses the timeouts of prediction requests, and cancels predictions when the client disconnects."""

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from app.http.asgi import get_header
from app.http.number_syntax import parse_number
from app.problems import InvalidJson

Result = TypeVar("Result")
TIMEOUT_HEADER = "X-Request-Timeout"
_TIMEOUT_KEY = TIMEOUT_HEADER.lower().encode()
MAX_TIMEOUT_S = 3600.0
TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Timeout of the request in seconds, a number above 0. The response is a 504 error if the timeout "
    "passes, or is estimated to pass while the request waits.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
    "example": 30,
}
WATCH_AFTER_S = 0.02  # most requests end earlier and need no watcher task
CLIENT_CLOSED_REQUEST = 499  # a status code of nginx; it appears only in logs and metrics


def parse_timeout(scope: Scope) -> float | None:
    """Return the timeout of the request in seconds, or None if the header is absent.

    Raises:
        InvalidJson: 422, the timeout is not a number or is out of range.
    """
    value = get_header(scope, _TIMEOUT_KEY)
    if value is None:
        return None
    try:
        seconds = parse_number(value)
    except ValueError:
        seconds = math.nan
    if 0 < seconds <= MAX_TIMEOUT_S:
        return seconds
    raise InvalidJson(f"{TIMEOUT_HEADER}:", f"must be a number of seconds above 0 and at most {MAX_TIMEOUT_S:g}")


def parse_deadline(scope: Scope) -> float | None:
    """Return the deadline as a time of the monotonic clock; None without a timeout. Raises as `parse_timeout`."""
    seconds = parse_timeout(scope)
    return None if seconds is None else time.monotonic() + seconds


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work` and return its result. Cancel `work` if the client disconnects. Call this after reading the body.

    Like `asyncio.timeout`, this function cancels the current task and converts the CancelledError to an HTTPException.
    A second task watches the connection; it starts after `WATCH_AFTER_S`.

    Raises:
        HTTPException: 499, the client disconnected.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    num_cancels = task.cancelling()
    watcher = _DisconnectWatcher(request, task)
    timer = loop.call_later(WATCH_AFTER_S, watcher.start)
    try:
        return await work
    except asyncio.CancelledError:
        # If the number of cancellations is still above `num_cancels`, other code cancelled the task too.
        if watcher.is_disconnected and task.uncancel() <= num_cancels:
            raise HTTPException(CLIENT_CLOSED_REQUEST, "The client disconnected.") from None
        raise
    finally:
        timer.cancel()
        watcher.stop()


class _DisconnectWatcher:
    """Cancels a task when the client disconnects."""

    def __init__(self, request: Request, task: asyncio.Task[Any]) -> None:
        self.is_disconnected = False
        self._request = request
        self._watched = task
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        task, self._task = self._task, None  # breaks the reference cycle through the task's traceback
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.is_disconnected = True
        self._watched.cancel()
