"""Periodic calls on the event loop."""

import asyncio
from collections.abc import Iterable

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.services.poller import BUSY_INTERVAL_S, LOG_EVERY, NUM_BUSY_CALLS, run_periodically

LOST = OperationalError("SELECT 1", {}, Exception("closed"))
BUG = ValueError("wrong")


async def poll(outcomes: Iterable[Exception | bool | None]) -> tuple[list[float], list[EventDict]]:
    """Call a task with these outcomes: errors, or what it returns. Return the delay before each call, and the logs."""
    remaining, delays, has_ended = list(outcomes), list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        if not remaining:
            has_ended.set()
            await asyncio.Event().wait()
        delays.append(seconds)

    async def task() -> bool | None:
        outcome = remaining.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with capture_logs() as logs:
        async with run_periodically(task, interval_s=0.5, sleep=sleep):
            await has_ended.wait()
    return delays, logs


async def test_the_task_is_called_again_after_failures() -> None:
    delays, _ = await poll([LOST, BUG, None, None])
    assert len(delays) == 4


async def test_the_end_of_the_context_cancels_the_calls() -> None:
    num_calls = 0

    async def count() -> None:
        nonlocal num_calls
        num_calls += 1

    async with run_periodically(count, interval_s=0):
        while not num_calls:
            await asyncio.sleep(0)
    called = num_calls
    for _ in range(5):
        await asyncio.sleep(0)
    assert num_calls == called


async def test_the_delay_doubles_with_each_failure_up_to_30_seconds() -> None:
    delays, _ = await poll([LOST] * 9)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_a_success_resets_the_delay() -> None:
    delays, _ = await poll([LOST, LOST, None, LOST, None])
    assert delays == [0.5, 1, 2, 0.5, 1]


async def test_only_the_first_and_every_20th_failure_are_logged() -> None:
    _, logs = await poll([LOST] * (2 * LOG_EVERY + 1))
    assert [entry["num_failures"] for entry in logs] == [1, LOG_EVERY, 2 * LOG_EVERY]


@pytest.mark.parametrize(
    ("error", "event"), [(LOST, "poller.database_unavailable"), (BUG, "poller.task_failed")], ids=["database", "bug"]
)
async def test_the_first_failure_and_the_recovery_are_logged(error: Exception, event: str) -> None:
    _, logs = await poll([error, error, None, None])
    assert [entry["event"] for entry in logs] == [event, "poller.recovered"]


async def test_calls_follow_quickly_while_there_is_something_to_do() -> None:
    delays, _ = await poll([None, True, None, True] + [None] * (NUM_BUSY_CALLS + 1))
    busy = [BUSY_INTERVAL_S]
    assert delays == [0.5, 0.5, *busy * (2 + NUM_BUSY_CALLS), 0.5]
