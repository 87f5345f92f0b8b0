"""Cancels work when the deadline of its request has passed."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from core.errors import DeadlineExceeded

Result = TypeVar("Result")


async def run_until_deadline(deadline: float | None, awaitable: Awaitable[Result]) -> Result:
    """Return the result of an awaitable. `deadline` is a time of the monotonic clock; None for no deadline.

    Raises:
        DeadlineExceeded: the deadline passed before the awaitable completed; the awaitable is cancelled.
    """
    if deadline is None:
        return await awaitable
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await awaitable
    except TimeoutError:
        raise DeadlineExceeded("The request's timeout has passed.") from None
