"""Work that is cancelled at its deadline."""

import asyncio
import time

import pytest

from app.services.prediction.timeouts import run_until_deadline
from core.errors import DeadlineExceeded


async def test_result_is_returned_before_the_deadline() -> None:
    assert await run_until_deadline(None, asyncio.sleep(0, "result")) == "result"
    assert await run_until_deadline(time.monotonic() + 60, asyncio.sleep(0, "result")) == "result"


async def test_work_is_cancelled_at_the_deadline() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    with pytest.raises(DeadlineExceeded, match="timeout has passed"):
        await run_until_deadline(time.monotonic() + 0.01, task)
    assert task.cancelled()
