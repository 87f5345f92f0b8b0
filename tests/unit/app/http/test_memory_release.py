"""Free memory is returned once after several large requests."""

import asyncio
import threading

import pytest

from app.http import memory_release


async def test_calls_at_the_same_time_release_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Semaphore(0)
    monkeypatch.setattr(memory_release, "_scheduled_for", 0.0)
    monkeypatch.setattr(memory_release, "DELAY_S", 3600.0)
    monkeypatch.setattr(memory_release, "release_free_memory", released.release)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda _, callback: loop.call_soon(callback))
    for _ in range(3):
        memory_release.release_memory_later()
    assert await asyncio.to_thread(released.acquire, timeout=60)
    assert not released.acquire(blocking=False)
