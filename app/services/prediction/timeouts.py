"""Work that is of no use after its caller's time is up: it is stopped then, wherever it waits."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from core.errors import DeadlineExceeded

Result = TypeVar("Result")


async def run_until_deadline(deadline: float | None, awaitable: Awaitable[Result]) -> Result:
    """What `work` finds, if it does so in time; `deadline` is of the monotonic clock.

    Raises:
        DeadlineExceeded: it did not.
    """
    if deadline is None:
        return await awaitable
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await awaitable
    except TimeoutError:
        raise DeadlineExceeded("The request's timeout has passed.") from None
