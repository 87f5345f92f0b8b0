"""Calls a coroutine function periodically, for example to validate jobs that waited for a dataset import."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)
_INTERVAL_S = 0.5


@asynccontextmanager
async def run_periodically(
    task: Callable[[], Awaitable[None]], *, interval_s: float = _INTERVAL_S
) -> AsyncIterator[None]:
    """Call `task` every `interval_s` seconds until the context ends, which cancels the running call."""
    calls = asyncio.create_task(_call_periodically(task, interval_s), name="poller")
    try:
        yield
    finally:
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)


async def _call_periodically(task: Callable[[], Awaitable[None]], interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await task()
        except SQLAlchemyError as error:
            log.warning("poller.database_unavailable", error=str(error))
        except Exception:  # continue: an exception must not stop later calls
            log.exception("poller.task_failed")
