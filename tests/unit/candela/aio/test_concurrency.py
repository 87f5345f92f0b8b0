"""Blocking functions run in threads, so that the event loop continues."""

import asyncio
import threading

from candela.aio.concurrency import run_blocking


async def test_the_event_loop_continues_during_a_blocking_call() -> None:
    is_set = threading.Event()
    waiting = asyncio.create_task(run_blocking(is_set.wait, timeout=60))
    await asyncio.sleep(0)
    is_set.set()  # would not be reached if the call blocked this thread
    assert await waiting
