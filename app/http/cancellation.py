"""Those who wait for a prediction: how long they do, and whether they still are there."""

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from app.http.asgi import header
from app.problems import InvalidJson

Found = TypeVar("Found")
TIMEOUT = "X-Request-Timeout"
_TIMEOUT = TIMEOUT.lower().encode()
LONGEST_S = 3600.0
TIMEOUT_HEADER: dict[str, Any] = {
    "name": TIMEOUT,
    "in": "header",
    "required": False,
    "description": "Seconds, a number above 0; what cannot be answered by then is not computed: 504.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
    "example": 30,
}
WATCH_AFTER_S = 0.02  # most answers are there before: they cost no second task
CLIENT_LEFT = 499  # nobody reads it; nginx' word for it, in the log and the metrics


def parse_timeout(scope: Scope) -> float | None:
    """How many seconds a caller waits; None where it does not say.

    Raises:
        InvalidJson: 422: no number, or none that makes sense.
    """
    given = header(scope, _TIMEOUT)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if 0 < seconds <= LONGEST_S:
        return seconds
    raise InvalidJson(f"{TIMEOUT}:", f"should be seconds, above 0 and at most {LONGEST_S:g}")


def parse_deadline(scope: Scope) -> float | None:
    """Until when a caller that came just now waits, by the monotonic clock. Raises as `timeout_of`."""
    seconds = parse_timeout(scope)
    return None if seconds is None else time.monotonic() + seconds


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Found]) -> Found:
    """What `work` finds; it is stopped when the client leaves. The request's body has been read.

    What `asyncio.timeout` does for whoever is late, with less to do for the many who are not.

    Raises:
        HTTPException: the client has left.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    num_cancels = task.cancelling()
    watch = _Watch(request, task)
    timer = loop.call_later(WATCH_AFTER_S, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.has_seen_it_leave and task.uncancel() <= num_cancels:  # else somebody else has cancelled it, too
            raise HTTPException(CLIENT_LEFT, "The client has left.") from None
        raise
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Cancels a task, once it has begun, when the client leaves."""

    def __init__(self, request: Request, watched: asyncio.Task[Any]) -> None:
        self.has_seen_it_leave = False
        self._request = request
        self._watched = watched
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run())

    def end(self) -> None:
        task, self._task = self._task, None  # its traceback leads here: kept, all of it would be the collector's
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.has_seen_it_leave = True
        self._watched.cancel()
