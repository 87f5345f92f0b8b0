"""Periodic calls on the event loop."""

import asyncio

from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from app.services.poller import run_periodically


async def test_task_is_called_again_after_failures_until_the_context_ends() -> None:
    called = asyncio.Event()
    errors: list[Exception] = [OperationalError("SELECT 1", {}, Exception("closed")), ValueError("wrong")]

    async def fail_twice() -> None:
        if errors:
            raise errors.pop(0)
        called.set()

    with capture_logs() as logs:
        async with run_periodically(fail_twice, interval_s=0.001):
            await asyncio.wait_for(called.wait(), 60)
    assert [entry["event"] for entry in logs] == ["poller.database_unavailable", "poller.task_failed"]
    called.clear()
    await asyncio.sleep(0.05)
    assert not called.is_set()
