"""Calls a coroutine function periodically, for example to validate jobs that waited for a dataset import."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)
MAX_DELAY_S = 30.0
LOG_EVERY = 20  # failures; with the longest delay, every ten minutes
_INTERVAL_S = 0.5
BUSY_INTERVAL_S = 0.1
NUM_BUSY_CALLS = 100
"""Calls at the short interval after a call that had something to do: the next trial of a sweep often comes soon."""

Task = Callable[[], Awaitable[bool | None]]
Sleep = Callable[[float], Awaitable[None]]


@asynccontextmanager
async def run_periodically(
    task: Task, *, interval_s: float = _INTERVAL_S, sleep: Sleep = asyncio.sleep
) -> AsyncIterator[None]:
    """Call `task` every `interval_s` seconds until the context ends, which cancels the running call.

    After a call that returns True, because it had something to do, the next calls follow after `BUSY_INTERVAL_S`.
    After each failure in a row, the delay doubles, up to `MAX_DELAY_S`. Only the first failure and every `LOG_EVERY`th
    are logged: a database can be unavailable for days.

    Args:
        task: the function to call.
        interval_s: the delay between two calls after a success.
        sleep: waits for a number of seconds.
    """
    calls = asyncio.create_task(_call_periodically(task, interval_s, sleep), name="poller")
    try:
        yield
    finally:
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)


async def _call_periodically(task: Task, interval_s: float, sleep: Sleep) -> None:
    delay_s, num_failures, num_busy_calls = interval_s, 0, 0
    while True:
        await sleep(delay_s)
        try:
            num_busy_calls = NUM_BUSY_CALLS if await task() else max(num_busy_calls - 1, 0)
        except Exception as error:  # noqa: BLE001 - continue: an exception must not stop later calls
            num_failures += 1
            delay_s = min(2 * delay_s, MAX_DELAY_S)
            if num_failures == 1 or num_failures % LOG_EVERY == 0:
                _log_failure(error, num_failures, delay_s)
        else:
            if num_failures:
                log.info("poller.recovered", num_failures=num_failures)
            delay_s, num_failures = (BUSY_INTERVAL_S if num_busy_calls else interval_s), 0


def _log_failure(error: Exception, num_failures: int, delay_s: float) -> None:
    fields = {"num_failures": num_failures, "next_call_in_s": delay_s}
    if isinstance(error, SQLAlchemyError):
        log.warning("poller.database_unavailable", error=str(error), **fields)
    else:
        log.error("poller.task_failed", exc_info=error, **fields)
